"""Which kernels XLA makes of a region on an NVIDIA GPU, by rule.

What is taken to happen, as seen in programs that XLA compiled:

- A product or convolution is one kernel, with a bias, a residual and an activation that follow it and that nothing else
  waits for.
- Element-wise operations and moves of data that hang together are one kernel, which takes a reduction with it that
  reads them. A reduction ends a kernel.
- Softmax and norms along rows are one kernel from compute capability 8.0 on; before, each of their two reductions is
  one, and what follows the reductions too.
- Changes of shape cost nothing. What is computed twice alike is computed once, and a softmax or norm of which others
  need a part is what it is made of.
- Anything else (sorting, scattering, control flow) is a kernel of its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..candidates import VIEWS
from ..graph.ir import Constant, Node, Value
from ..graph.region import Region
from ..graph.work import operations
from ..patterns.numbering import Numbering

PRODUCTS = frozenset({"dot_general", "conv_general_dilated"})
ROWS = frozenset({"softmax", "log_softmax", "layer_norm", "rms_norm"})
POOLS = frozenset({"avg_pool", "max_pool", "mean", "global_max_pool"})
ALONE = frozenset({"sort", "fft", "cholesky", "triangular_solve", "while", "scan", "cond", "top_k"})
#: What the library call of a product does besides.
TAILS = frozenset({"add", "add_any", "max", "relu", "relu6", "clip", "leaky_relu", "elu", "gelu", "silu", "tanh"})

#: The first compute capability with kernels that keep rows on the chip from reduction to reduction.
ROWS_AT_ONCE = 80
#: Kernels of a softmax or norm before that.
ROW_PASSES = 3


@dataclass(frozen=True)
class Kernel:
    """A kernel, run ``launches`` times: ``products`` are nodes, ``nbytes`` the bytes that one run reads and writes."""

    products: tuple[Node, ...]
    nbytes: float
    launches: int = 1


def kernels(region: Region, sm: int) -> tuple[Kernel, ...]:
    """The kernels that XLA runs for ``region`` on a GPU of compute capability ``sm`` / 10."""
    opened, numbering = _numbered(list(_opened(region.nodes)))
    origins, repeated = _origins(opened, numbering)
    nodes = [n for n in opened if n.op not in VIEWS and n not in repeated]
    reads = {n: [origins.get(v, v) for v in n.inputs if not isinstance(v, Constant)] for n in nodes}
    kept = {origins.get(v, v) for v in region.exits}
    readers: dict[Value, list[Node]] = {}
    for node, values in reads.items():
        for value in values:
            readers.setdefault(value, []).append(node)

    def made_of(part: Sequence[Node]) -> Kernel:
        inside = set(part)
        made = {v for n in part for v in n.outputs}
        written = {v for v in made if v in kept or not inside.issuperset(readers.get(v, ()))}
        arrays = {v for n in part for v in reads[n] if v not in made} | written
        in_passes = sm < ROWS_AT_ONCE and any(n.op in ROWS for n in part)
        products = tuple(n for n in part if operations([n]))
        return Kernel(products, float(sum(v.nbytes for v in arrays)), ROW_PASSES if in_passes else 1)

    return tuple(made_of(part) for part in _parts(nodes, reads, kept))


def needs_engine(region: Region) -> bool:
    """True if ``region`` holds more than what XLA fuses into kernels around it: a product, a reduction."""
    return any(n.op not in VIEWS and not _is_fused(n) for n in _opened(region.nodes))


def _opened(nodes: Iterable[Node]) -> Iterator[Node]:
    """``nodes``, attention as what it is made of: XLA has no kernel for it."""
    for node in nodes:
        yield from _opened(node.body) if node.op == "attention" else (node,)


def _numbered(nodes: Sequence[Node]) -> tuple[list[Node], Numbering]:
    """``nodes`` numbered, those along rows opened of which others compute a part."""
    numbering = Numbering()
    numbering.add(primitive for node in nodes for primitive in node.primitives)
    makers: dict[Hashable, set[Node]] = {}
    for node in nodes:
        for inner in (p for p in node.primitives if p.outputs and p.op not in VIEWS):
            makers.setdefault(numbering.number(inner.outputs[0]), set()).add(node)

    def is_shared(node: Node) -> bool:
        return any(len(makers.get(numbering.number(p.outputs[0]), ())) > 1 for p in node.primitives[:-1])

    opened = ([*node.primitives] if node.op in ROWS and is_shared(node) else [node] for node in nodes)
    return [part for parts in opened for part in parts], numbering


def _origins(opened: Iterable[Node], numbering: Numbering) -> tuple[dict[Value, Value], set[Node]]:
    """What results of changes of shape are changed from, what is computed again is at first; and the nodes of these."""
    first: dict[Hashable, Value] = {}
    found: dict[Value, Value] = {}
    repeated: set[Node] = set()
    for node in opened:
        if node.op in VIEWS and not isinstance(node.inputs[0], Constant):
            found[node.out] = found.get(node.inputs[0], node.inputs[0])
            continue
        for value in node.outputs:
            before = first.setdefault(numbering.number(value), value)
            if before is not value:
                found[value] = before
                repeated.add(node)
    return found, repeated


def _is_reduction(node: Node) -> bool:
    return node.op in ROWS or node.op in POOLS or node.op.startswith(("reduce", "arg", "cum", "select_and"))


def _stands_alone(node: Node) -> bool:
    return node.op in ALONE or node.op.startswith("scatter") or bool(node.subgraphs) or node.barrier


def _is_fused(node: Node) -> bool:
    return not (node.op in PRODUCTS or _is_reduction(node) or _stands_alone(node))


def _parts(nodes: Sequence[Node], reads: Mapping[Node, Sequence[Value]], kept: Iterable[Value]) -> Iterator[list[Node]]:
    """``nodes`` by kernels. Those of one kernel stand on one step of a stair, from which every other edge leads up."""
    maker = {v: n for n in nodes for v in n.outputs}
    before = {n: list(dict.fromkeys(maker[v] for v in reads[n] if v in maker)) for n in nodes}
    users: dict[Node, list[Node]] = {n: [] for n in nodes}
    for node in nodes:
        for other in before[node]:
            users[other].append(node)
    held = {maker[v] for v in kept if v in maker}
    leads = _tails(nodes, before, users, held)

    def joins(first: Node, second: Node) -> bool:
        if second in leads:
            return leads.get(first) is leads[second]
        return first not in leads and _is_fused(first) and (_is_fused(second) or _is_reduction(second))

    step: dict[Node, int] = {}
    for node in nodes:
        step[node] = max((step[p] + (not joins(p, node)) for p in before[node]), default=0)
    for node in reversed(nodes):  # as late as can be, near to what reads it
        if users[node]:
            step[node] = min(step[u] - (not joins(node, u)) for u in users[node])
    part: dict[Node, list[Node]] = {}
    for node in nodes:
        mine = part.setdefault(node, [node])
        for other in before[node]:
            if joins(other, node) and step[other] == step[node] and part[other] is not mine:
                mine += part[other]
                part.update(dict.fromkeys(part[other], mine))
    yield from {id(each): each for each in part.values()}.values()


def _tails(
    nodes: Sequence[Node],
    before: Mapping[Node, Sequence[Node]],
    users: Mapping[Node, Sequence[Node]],
    held: Iterable[Node],
) -> dict[Node, Node]:
    """For each node that runs in the call of a product, the product."""
    leads: dict[Node, Node] = {}
    waited_for = set(held)
    for node in nodes:
        if node.op in PRODUCTS:
            leads[node] = node
        elif node.op in TAILS:
            ends = [p for p in before[node] if p in leads and len(users[p]) == 1 and p not in waited_for]
            if ends:
                leads[node] = leads[ends[-1]]
    return leads
