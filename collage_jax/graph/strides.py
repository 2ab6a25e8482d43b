"""Arrays seen through reshapes and transpositions: what strides can say, nobody needs to copy."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import prod

from .ir import Graph, Node, Value
from .origins import Inside


@dataclass(frozen=True, eq=False)
class Strided:
    """``value``'s row-major memory under other sizes; ``strides`` in elements; ``nodes`` were looked through."""

    value: Value
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    nodes: tuple[Node, ...] = ()

    @staticmethod
    def of(value: Value) -> Strided:
        return Strided(value, value.shape, row_major(value.shape))

    def transposed(self, axes: Sequence[int]) -> Strided:
        """With the axes in this order."""
        pick = lambda numbers: tuple(numbers[a] for a in axes)  # noqa: E731
        return Strided(self.value, pick(self.sizes), pick(self.strides), self.nodes)

    def reshaped(self, sizes: Sequence[int]) -> Strided | None:
        """With other sizes, as many elements; None if that takes a copy."""
        strides = _reshaped(self.sizes, self.strides, sizes)
        return None if strides is None else Strided(self.value, tuple(sizes), strides, self.nodes)

    def with_nodes(self, *nodes: Node) -> Strided:
        return Strided(self.value, self.sizes, self.strides, nodes)


def row_major(sizes: Sequence[int]) -> tuple[int, ...]:
    """Strides of a dense array whose last axis is the fastest."""
    return tuple(prod(sizes[i + 1 :]) for i in range(len(sizes)))


def sources(graph: Graph, value: Value, user: Node, inside: Inside) -> Iterator[Strided]:
    """``value`` as itself, and as each array that it is a reshape or transposition of for ``user`` alone."""
    return sources_for(graph, value, (user,), inside)


def sources_for(graph: Graph, value: Value, users: Collection[Node], inside: Inside) -> Iterator[Strided]:
    """The same for several ``users`` together."""
    chain: list[Node] = []
    while True:
        seen: Strided | None = Strided.of(value).with_nodes(*chain)
        for node in chain:
            seen = seen and _after(seen, node)
        if seen is not None:
            yield seen
        node = graph.producer.get(value)
        alone = value not in graph.output_set and all(user in users for user in graph.users[value])
        if node is None or not inside(node) or not alone or not _rearranges(node):
            return
        value, users = node.inputs[0], (node,)
        chain.insert(0, node)


def destinations(graph: Graph, value: Value, inside: Inside) -> Iterator[Strided]:
    """``value`` as itself, and as it lies in each array that is a reshape or transposition of it and of it alone."""
    chain: list[Node] = []
    last = value
    while True:
        seen: Strided | None = Strided.of(last).with_nodes(*chain)
        for node in reversed(chain):
            seen = seen and _before(seen, node)
        if seen is not None:
            yield seen
        following = graph.only_user(last)
        if following is None or not inside(following) or not _rearranges(following):
            return
        last = following.out
        chain.append(following)


def _rearranges(node: Node) -> bool:
    if node.barrier or len(node.inputs) != 1 or len(node.outputs) != 1:
        return False
    if node.op == "reshape" and node.params.get("dimensions") is not None:  # of the axes in another order
        return False
    return node.op in ("transpose", "reshape", "squeeze", "expand_dims")


def _after(seen: Strided, node: Node) -> Strided | None:
    if node.op == "transpose":
        return seen.transposed([int(p) for p in node.params["permutation"]])
    return seen.reshaped(node.out.shape)


def _before(seen: Strided, node: Node) -> Strided | None:
    if node.op == "transpose":
        permutation = [int(p) for p in node.params["permutation"]]
        return seen.transposed([permutation.index(axis) for axis in range(len(permutation))])
    return seen.reshaped(node.inputs[0].shape)


def _reshaped(sizes: Sequence[int], strides: Sequence[int], new: Sequence[int]) -> tuple[int, ...] | None:
    """Strides for the sizes ``new``: axes may be split, and merged where they lie in one row."""
    old = [(n, s) for n, s in zip(sizes, strides, strict=True) if n != 1]
    found: list[int] = []
    left, step = 1, 0  # of the old axes taken so far: elements still to be divided, and how far apart they are
    for size in reversed(new):
        while left % size:  # too few: the next axis outwards must go on where these end
            if not old or (left > 1 and old[-1][1] != step * left):
                return None
            n, stride = old.pop()
            left, step = left * n, step if left > 1 else stride
        found.append(step if size > 1 else 0)
        left, step = left // size, step * size
    return tuple(reversed(found))
