"""Backends, graphs and programs made up for tests; nothing here needs a kernel library."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from collage_jax.backends.base import Backend, PreparedKernel, Proposal, Unsupported
from collage_jax.graph.evaluate import callable_of
from collage_jax.graph.ir import Graph, Node, Value
from collage_jax.graph.region import Region
from collage_jax.lowering.plan import Plan

Wants = Callable[[Graph], Iterable[Iterable[int]]]
Kernel = Callable[..., Any]


def everything_alone(graph: Graph) -> list[tuple[int, ...]]:
    """Each node by itself, barriers left out."""
    return [(i,) for i, node in enumerate(graph.nodes) if not node.barrier]


class Fake(Backend):
    """Runs regions with JAX's own primitives, spoiled by ``change``.

    ``wants`` gives the places of the nodes of each region proposed, ``change`` gets the right callable of a region and
    gives the one that is used. ``emits`` counts calls of ``emit`` and ``emit_frozen``, ``runs`` how often a callable
    was traced. With ``packs``, frozen operands are kept negated and flat.
    """

    def __init__(
        self,
        name: str = "fake",
        wants: Wants = everything_alone,
        change: Callable[[Kernel], Kernel] = lambda kernel: kernel,
        *,
        packs: bool = False,
        refuses: str = "",
    ) -> None:
        self.name = name
        self.wants = wants
        self.change = change
        self.packs = packs
        self.refuses = refuses
        self.emits = 0
        self.packed_emits = 0
        self.runs = 0

    def propose(self, graph: Graph) -> Iterable[Proposal]:
        return [Proposal(tuple(graph.nodes[i] for i in places), self.name) for places in self.wants(graph)]

    def supports(self, region: Region) -> Unsupported | None:
        return Unsupported(self.refuses) if self.refuses else None

    def emit(self, region: Region) -> Kernel:
        self.emits += 1
        kernel = self.change(callable_of(region.nodes, region.entries, region.exits))

        def run(*arrays: Any) -> Any:
            self.runs += 1
            return kernel(*arrays)

        return run

    def emit_frozen(self, region: Region, frozen: frozenset[Value]) -> PreparedKernel | None:
        if not self.packs:
            return None
        self.packed_emits += 1
        kept = [v for v in region.entries if v in frozen]
        kernel = self.emit(region)

        def prepare(*arrays: Any) -> tuple[Any, ...]:
            return tuple(_pack(a) for a in arrays)

        def run(*arrays: Any) -> Any:
            packed = dict(zip(kept, arrays[: len(kept)], strict=True))
            others = iter(arrays[len(kept) :])
            return kernel(*(_unpack(packed[v], v) if v in packed else next(others) for v in region.entries))

        return PreparedKernel(prepare, run)


def _pack(array: Any) -> Any:
    return jnp.ravel(~array if array.dtype == bool else -array)


def _unpack(array: Any, value: Value) -> Any:
    return jnp.reshape(~array if array.dtype == bool else -array, value.shape)


def wrong_numbers(kernel: Kernel) -> Kernel:
    """Every result a little off, and not by rounding."""
    return lambda *arrays: [x + jnp.ones_like(x) for x in kernel(*arrays)]


def raises_at_emit(kernel: Kernel) -> Kernel:
    raise RuntimeError("emit went wrong\nand this line is not for the report")


def raises_at_trace(kernel: Kernel) -> Kernel:
    def run(*arrays: Any) -> Any:
        raise TypeError("tracing went wrong")

    return run


def raises_at_compile(kernel: Kernel) -> Kernel:
    """Calls a foreign function that nobody registered."""

    def run(*arrays: Any) -> Any:
        return [jax.ffi.ffi_call("no_such_target", jax.ShapeDtypeStruct(r.shape, r.dtype))(r) for r in kernel(*arrays)]

    return run


def raises_at_run(kernel: Kernel, *, after: int = 0) -> Kernel:
    """Raises inside the compiled program, once it has run ``after`` times."""
    calls = 0

    def check(array: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise ValueError("running went wrong")
        return array

    def run(*arrays: Any) -> Any:
        return [jax.pure_callback(check, jax.ShapeDtypeStruct(r.shape, r.dtype), r) for r in kernel(*arrays)]

    return run


@dataclass(frozen=True)
class FakePrimitiveEqn:
    """As much of an equation as the graph looks at."""

    effects: frozenset[Any] = frozenset()
    ctx: Any = None


def fake_graph(reads: Sequence[Sequence[int]], returned: Sequence[int] = (), effects: Iterable[int] = ()) -> Graph:
    """A graph whose node ``i`` reads the nodes ``reads[i]`` (and the only input, if it reads none)."""
    scalar = jax.ShapeDtypeStruct((), np.float32)
    start = Value(scalar)
    outputs = [Value(scalar) for _ in reads]
    effects = set(effects)
    nodes = [
        Node(
            f"op{i}",
            {},
            tuple(outputs[j] for j in before) or (start,),
            (outputs[i],),
            FakePrimitiveEqn(frozenset({"effect"}) if i in effects else frozenset()),
            barrier=i in effects,
        )
        for i, before in enumerate(reads)
    ]
    return Graph((start,), (), tuple(nodes), tuple(outputs[i] for i in returned))


def random_reads(rng: random.Random, count: int, density: float = 0.3) -> list[list[int]]:
    """For each of ``count`` nodes the earlier ones it reads."""
    return [[j for j in range(i) if rng.random() < density] for i in range(count)]


def random_regions(rng: random.Random, graph: Graph, share: float = 0.8) -> list[Region]:
    """Disjoint convex regions without barriers, in a random order, that can all be run one after another."""
    chosen: list[Region] = []
    taken: set[Node] = set()
    for _ in range(4 * len(graph.nodes)):
        free = [n for n in graph.nodes if n not in taken and not n.barrier]
        if not free or len(taken) >= share * len(graph.nodes):
            break
        region = Region.of(graph, _grown(rng, graph, rng.choice(free), set(free)))
        if not region.is_convex:
            continue
        try:
            Plan(graph, tuple((r, "fake") for r in [*chosen, region])).steps  # noqa: B018
        except ValueError:
            continue
        chosen.append(region)
        taken.update(region.nodes)
    rng.shuffle(chosen)
    return chosen


def _grown(rng: random.Random, graph: Graph, node: Node, free: set[Node]) -> set[Node]:
    grown = {node}
    for _ in range(rng.randrange(5)):
        near = [graph.producer[v] for n in grown for v in n.inputs if v in graph.producer]
        near += [u for n in grown for v in n.outputs for u in graph.users.get(v, ())]
        near = sorted({n for n in near if n in free} - grown, key=graph.position.__getitem__)
        if not near:
            break
        grown.add(rng.choice(near))
    return grown


# A random program: a list of steps, each of which computes one more value from earlier ones.


@jax.custom_jvp
def doubled(x):
    return x + x


doubled.defjvp(lambda primals, tangents: (doubled(*primals), tangents[0]))


@jax.custom_vjp
def tripled(x):
    return x + x + x


tripled.defvjp(lambda x: (tripled(x), None), lambda _, g: (g,))


@jax.jit
def _nested(x, y):
    return doubled(x) - jax.jit(tripled)(y), y


def _float(x):
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.float32)


def _truth(x):
    return jnp.real(x) > 0


STEPS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "where": lambda x, y: jnp.where(_truth(x), x, y),
    "nested": lambda x, y: _nested(x, y)[0],
    "sin": lambda x, y: jnp.sin(_float(x)),
    "tanh": lambda x, y: jnp.tanh(_float(x)),
    "relu": lambda x, y: jax.nn.relu(jnp.real(_float(x))),
    "weak": lambda x, y: x * 2,
    "half": lambda x, y: _float(x) * 0.5,
    "plus zero": lambda x, y: x + 0,
    "sum": lambda x, y: jnp.sum(jnp.atleast_1d(x), axis=-1, keepdims=True),
    "mean": lambda x, y: jnp.mean(_float(x)) * jnp.ones_like(y),
    "flip": lambda x, y: jnp.flip(jnp.atleast_1d(x), axis=-1),
    "copy": lambda x, y: jnp.array(x, copy=True),
    "stopped": lambda x, y: jax.lax.stop_gradient(x),
    "constant": lambda x, y: x + np.arange(4).astype(np.int8),
    "iota": lambda x, y: x + jnp.arange(4),
    "cast": lambda x, y: jnp.real(x).astype(jnp.int32),
    "cond": lambda x, y: jax.lax.cond(jnp.size(x) > 3, lambda a: a + 1, lambda a: a * 2, x),
    "scan": lambda x, y: jax.lax.scan(lambda c, _: (c + doubled(x), None), jnp.zeros_like(x), None, length=3)[0],
    "while": lambda x, y: jax.lax.fori_loop(0, 2, lambda i, c: c * 2 - i.astype(c.dtype), x),
    "branch": lambda x, y: jax.lax.cond(jnp.sum(jnp.real(x)) > 0, lambda a: a * 3, lambda a: tripled(a) + a, x),
}
CHEAP = tuple(name for name in STEPS if name not in {"cond", "scan", "while", "branch"})


@dataclass(frozen=True, eq=False)
class Program:
    """A function of ``len(inputs)`` arrays. Each step applies one of ``STEPS`` to two values, given by their places."""

    inputs: tuple[Any, ...]
    steps: tuple[tuple[str, int, int], ...]
    returned: tuple[int, ...]
    returns_constant: bool = field(default=False)

    def __call__(self, *arrays: Any) -> Any:
        values = list(arrays)
        for name, i, j in self.steps:
            values.append(STEPS[name](values[i % len(values)], values[j % len(values)]))
        results = [values[i % len(values)] for i in self.returned]
        return [*results, 1.5, np.int8(3)] if self.returns_constant else results


DTYPES = ("float32", "bfloat16", "int32", "complex64", "int8", "float16")
SHAPES = ((3, 4), (4,), (3, 1), ())
EMPTY_SHAPES = ((0, 4), (4,), (1, 4), ())


def array_of(shape: tuple[int, ...], dtype: str, seed: int) -> Any:
    """A small array, the same for the same arguments."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(-2, 3, shape)
    return jnp.asarray(numbers if "int" in dtype else numbers + 0.25, dtype)


@st.composite
def programs(draw: Any, dtypes: Sequence[str] = DTYPES, steps: Sequence[str] = tuple(STEPS)) -> Program:
    """Programs with branches, diamonds, shared values, several outputs, inputs returned as they are."""
    place = st.integers(0, 12)
    shapes = st.sampled_from(draw(st.sampled_from((SHAPES, SHAPES, SHAPES, EMPTY_SHAPES))))
    inputs = tuple(
        array_of(draw(shapes), draw(st.sampled_from(dtypes)), seed) for seed in range(draw(st.integers(1, 3)))
    )
    chain = draw(st.lists(st.tuples(st.sampled_from(steps), place, place), max_size=9))
    # The values made last are returned as often as those made first.
    returned = draw(st.lists(st.one_of(place, st.integers(-3, -1)), min_size=1, max_size=4))
    return Program(inputs, tuple(chain), tuple(returned), draw(st.booleans()))


def assert_same(got: Sequence[Any], wanted: Sequence[Any], *, types: bool = True) -> None:
    """Equal shapes, dtypes and (but for rounding) numbers; with ``types``, equally weak types."""
    assert len(got) == len(wanted)
    for g, w in zip(got, wanted, strict=True):
        got_aval, wanted_aval = jax.typeof(g), jax.typeof(w)
        assert got_aval.shape == wanted_aval.shape
        assert got_aval.dtype == wanted_aval.dtype
        if types:
            assert got_aval.weak_type == wanted_aval.weak_type
        close = {2: 0.05, 1: 0.0}.get(np.dtype(wanted_aval.dtype).itemsize, 2e-5)
        wide = np.complex128 if np.dtype(wanted_aval.dtype).kind == "c" else np.float64
        g, w = np.asarray(g).astype(wide), np.asarray(w).astype(wide)
        scale = np.max(np.abs(w), initial=1.0, where=np.isfinite(w))
        np.testing.assert_allclose(g, w, rtol=close, atol=close * scale)
