"""Plan -> callable. Kernels come from ``Backend.emit`` alone, so what was timed is what runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import jax
from jax import lax

from .. import _compat
from ..backends.base import Backend, PreparedKernel
from ..candidates import VIEWS
from ..ffi.native_call import NativeCall, NativeCalls
from ..graph.evaluate import Env, read, run_node
from ..graph.ir import Constant, Node, Value
from ..graph.region import Region
from ..graph.split import Split
from .joining import Key, Task, Times, run_tasks, tasks_of_call
from .plan import Plan

#: What is made once from frozen inputs, as ordinary arrays: the values that are used as they are, and what each kernel
#: with frozen operands made of them.
Prepared: TypeAlias = tuple[list[Any], list[tuple[Any, ...]]]

#: In place of a region's number: a step that is no region of the plan.
APART = -1

#: A region of more operations than this has their number in its name.
MOST_LISTED = 6


@dataclass(frozen=True, eq=False)
class Lowered:
    """``run(prepared, *inputs)`` runs a plan; ``prepare(*frozen)`` makes ``prepared`` from the frozen inputs.

    Both are JAX-traceable, inputs and outputs flat. ``plain`` are the values that are prepared as they are.
    """

    prepare: Callable[..., Prepared]
    run: Callable[..., Any]
    plain: tuple[Value, ...] = ()


def lower(plan: Plan, split: Split, backends: Mapping[str, Backend], timed: bool = False) -> Lowered:
    """Lower ``plan``, a plan for ``split.each``.

    ``timed`` makes ``run`` return the outputs and, for each program of joined calls, the microseconds that its steps
    took, by the steps' numbers in ``plan.placed`` (``APART`` for a step that belongs to none). Regions that run alone
    are left out.
    """
    steps = plan.steps
    frozen = frozenset(split.kept)
    kernels: list[tuple[Region, Callable[..., Any] | None, PreparedKernel | None]] = []
    titles = [f"{name}: {_what(region)}" if name is not None else "" for region, name in steps]
    for region, name in steps:
        prepared_kernel = None
        if name is not None and not frozen.isdisjoint(region.entries):
            prepared_kernel = backends[name].emit_frozen(region, frozen.intersection(region.entries))
        emitted = backends[name].emit(region) if name is not None and prepared_kernel is None else None
        kernels.append((region, emitted, prepared_kernel))
    outputs = split.each.outputs
    plain = _read_as_they_are(kernels, outputs, split.kept)
    dynamic = split.each.inputs[len(split.kept) :]
    of_kernels = {v for region, name in steps if name is not None for v in region.exits}.intersection(outputs)
    # A tuple of all that one call makes is that call to XLA. Of a loop whose body it is, XLA then looks at what the
    # call reads instead, and takes what of the state stands there in its own place for unchanged: a loop without end.
    kept_apart = of_kernels if len(of_kernels) > 1 else ()

    def prepare(*arrays: Any) -> Prepared:
        env: Env = dict(zip(split.once.inputs, arrays, strict=True))
        env.update(split.once.constants)
        for node in split.once.nodes:
            run_node(node, env)
        packed = [
            tuple(kernel.prepare(*(read(env, v) for v in region.entries if v in frozen)))
            for region, _, kernel in kernels
            if kernel is not None
        ]
        return [read(env, v) for v in plain], packed

    def run(prepared: Prepared, *inputs: Any) -> Any:
        env: dict[Key, Any] = dict(zip(dynamic, inputs, strict=True))
        env.update(zip(plain, prepared[0], strict=True))
        packed = iter(prepared[1])
        tasks: list[Task] = []
        for title, (region, emitted, kernel) in zip(titles, kernels, strict=True):
            if kernel is not None:
                made = {(region, i): array for i, array in enumerate(next(packed))}
                env.update(made)
                others = [v for v in region.entries if v not in frozen]
                tasks += _kernel_tasks(region, kernel.run, (*made, *others), title)
            elif emitted is not None:
                tasks += _kernel_tasks(region, emitted, region.entries, title)
            else:
                (node,) = region.nodes
                tasks.append(_node_task(node, placed_params(plan, node, backends)))
        times: Times | None = [] if timed else None
        run_tasks(tasks, env, [v for v in outputs if not isinstance(v, Constant)], times)
        env.update({v: lax.optimization_barrier(env[v]) for v in kept_apart})
        # Kernels know nothing of weak types, which decide what a caller's next operation gives.
        results = [_compat.with_aval(v.val if isinstance(v, Constant) else env[v], v.aval) for v in outputs]
        if times is None:
            return results
        # The arrays as they are: to XLA each element that it takes out is a kernel to compile.
        number: dict[Key, int] = {value: i for i, (region, _) in enumerate(plan.placed) for value in region.exits}
        return results, {tuple(number.get(key, APART) for key in keys): took for keys, took in times}

    return Lowered(prepare, run, tuple(plain))


def step_times(times: Mapping[tuple[int, ...], Any]) -> dict[int, float]:
    """The microseconds of each region by its number, of what a ``timed`` program returns; all calls of one together."""
    summed: dict[int, float] = {}
    for numbers, took in jax.device_get(times).items():
        for number, us in zip(numbers, took, strict=True):
            if number != APART:
                summed[number] = summed.get(number, 0.0) + float(us)
    return summed


def compiled_prepare(lowered: Lowered) -> Callable[..., Prepared]:
    """``lowered.prepare`` to be called with arrays; what it gives is there.

    What JAX compiles with a mesh of explicit axes anywhere in it gives all its results types that name the mesh. Those
    that stand for values of the program without such a type get rid of it, for the program mixes them with others.
    """
    compiled = jax.jit(lowered.prepare)

    def prepare(*frozen: Any) -> Prepared:
        plain, packed = jax.block_until_ready(compiled(*frozen))
        typed = [_as_typed(array, value.aval) for array, value in zip(plain, lowered.plain, strict=True)]
        return typed, [tuple(_as_typed(array, None) for array in arrays) for arrays in packed]

    return prepare


def _as_typed(array: Any, aval: Any) -> Any:
    is_wrong = _compat.is_typed_by_mesh(array) and not _compat.is_typed_by_mesh(aval)
    return _compat.untyped_by_mesh(array) if is_wrong else array


def _read_as_they_are(
    kernels: Sequence[tuple[Region, Any, PreparedKernel | None]], outputs: Sequence[Value], kept: Sequence[Value]
) -> list[Value]:
    """Those of ``kept`` that something other than a kernel's own preparation reads."""
    needed: set[Value] = set(outputs)
    for region, _, kernel in kernels:
        if kernel is None:
            needed.update(region.entries)
    return [v for v in kept if v in needed]


def _what(region: Region) -> str:
    return "+".join(region.ops) if len(region.nodes) <= MOST_LISTED else f"{len(region.nodes)} operations"


def _kernel_tasks(region: Region, kernel: Callable[..., Any], arguments: Sequence[Key], title: str) -> list[Task]:
    if isinstance(kernel, NativeCall):
        kernel = NativeCalls((kernel,))
    if isinstance(kernel, NativeCalls):
        made = zip(kernel.calls, region.exits, strict=True)
        return [task for call, value in made for task in tasks_of_call(call, arguments, value, title)]

    def run(*arrays: Any) -> Sequence[Any]:
        results = kernel(*arrays)
        return results if isinstance(results, (tuple, list)) else (results,)

    return [Task(tuple(arguments), region.exits, run, title=title)]


def _node_task(node: Node, params: Mapping[str, Any] | None) -> Task:
    reads = tuple(v for v in dict.fromkeys(node.inputs) if not isinstance(v, Constant))

    def run(*arrays: Any) -> Sequence[Any]:
        env: Env = dict(zip(reads, arrays, strict=True))
        run_node(node, env, params)
        return [env[v] for v in node.outputs]

    return Task(reads, node.outputs, run, shape=node.out.shape if _keeps_order(node) else None)


def _keeps_order(node: Node) -> bool:
    """True if ``node`` gives its one array another shape and does nothing else."""
    if node.op not in VIEWS or len(node.inputs) != 1 or isinstance(node.inputs[0], Constant):
        return False
    if node.op == "reshape" and node.params.get("dimensions") is not None:
        return False
    sizes = (node.inputs[0].shape, node.out.shape)
    # Under shape polymorphism a size may be an expression.
    return all(isinstance(n, int) for shape in sizes for n in shape) and prod(sizes[0]) == prod(sizes[1])


def placed_params(plan: Plan, node: Node, backends: Mapping[str, Backend]) -> Mapping[str, Any] | None:
    """Parameters of a control-flow node with its bodies replaced by placed ones; None if nothing is placed."""
    bodies = plan.inner.get(node)
    if not bodies or all(p.is_plain for plans in bodies.values() for p in plans):
        return None
    params = dict(node.params)
    for name, plans in bodies.items():
        held = params[name]
        new = [_placed_body(p, backends) for p in plans]
        params[name] = tuple(new) if isinstance(held, (tuple, list)) else new[0]
    return params


def _placed_body(plan: Plan, backends: Mapping[str, Backend]) -> Any:
    lowered = lower(plan, _unsplit(plan), backends)
    return _compat.make_closed_jaxpr(
        lambda *xs: lowered.run(lowered.prepare(), *xs), [v.aval for v in plan.graph.inputs]
    )


def _unsplit(plan: Plan) -> Split:
    """The split in which nothing is frozen but what the body closed over."""
    graph = plan.graph
    kept = tuple(v for v, _ in graph.constants)
    once = type(graph)((), graph.constants, (), kept)
    return Split(once, type(graph)(kept + graph.inputs, (), graph.nodes, graph.outputs), kept)
