"""Arrays seen through the operations that only rearrange them, so that strides can say what a copy would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...graph.ir import Constant, Graph, Node, Value
from ...graph.strides import row_major
from .memory import Groups, Memory, dtype_name, fill_strides, merge

Inside = Callable[[Node], bool]


@dataclass(frozen=True, eq=False)
class View:
    """``value``'s row-major buffer under other sizes and strides (0 where repeated), and the nodes looked through."""

    value: Value
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    nodes: tuple[Node, ...] = ()

    @staticmethod
    def of(value: Value) -> View:
        return View(value, value.shape, row_major(value.shape))

    def memory(self, groups: Groups, order: Sequence[int] | None = None) -> Memory | None:
        """The tensor with logical dimensions ``groups``; None if strides cannot express it or the dtype is unknown.

        ``order``, outermost first, is how dimensions without a stride of their own are imagined to lie.
        """
        dtype = dtype_name(self.value.dtype)
        merged = [merge(self.sizes, self.strides, axes) for axes in groups]
        if dtype is None or any(m is None for m in merged):
            return None
        known = [m for m in merged if m is not None]
        dims = tuple(n for n, _ in known)
        return Memory(dtype, dims, fill_strides(dims, [s for _, s in known], order or range(len(dims))))

    def transposed(self, node: Node) -> View:
        permutation = [int(p) for p in node.params["permutation"]]
        sizes, strides = (tuple(old[p] for p in permutation) for old in (self.sizes, self.strides))
        return replace(self, sizes=sizes, strides=strides, nodes=(*self.nodes, node))


def look_through(graph: Graph, value: Value, user: Node, inside: Inside) -> View:
    """``value`` as ``user`` reads it, seen through broadcasts and added or removed axes that nobody else reads."""
    node = graph.producer.get(value)
    if node is None or not inside(node) or graph.only_user(value) is not user:
        return View.of(value)
    source = node.inputs[0] if node.inputs else value
    if node.op == "convert_element_type" and _is_scalar(graph, source, inside):
        found = look_through(graph, source, node, inside)
        return replace(found, nodes=(*found.nodes, node))
    if node.op not in ("broadcast_in_dim", "reshape", "squeeze", "expand_dims") or len(node.inputs) != 1:
        return View.of(value)
    found = look_through(graph, source, node, inside)
    seen = _broadcast(found, node) if node.op == "broadcast_in_dim" else _reshape(found, node)
    return View.of(value) if seen is None else seen


def _is_scalar(graph: Graph, value: Value, inside: Inside) -> bool:
    while not isinstance(value, Constant):
        node = graph.producer.get(value)
        if node is None or not inside(node) or node.op not in ("broadcast_in_dim", "reshape", "convert_element_type"):
            return False
        value = node.inputs[0]
    return True


def _broadcast(view: View, node: Node) -> View:
    sizes = node.out.shape
    strides = [0] * len(sizes)
    for axis, to in enumerate(int(d) for d in node.params["broadcast_dimensions"]):
        if view.sizes[axis] == sizes[to]:
            strides[to] = view.strides[axis]
    return replace(view, sizes=sizes, strides=tuple(strides), nodes=(*view.nodes, node))


def _reshape(view: View, node: Node) -> View | None:
    """Axes of size 1 come and go; anything else needs a dense array."""
    if node.op == "reshape" and node.params.get("dimensions") is not None:
        return None
    sizes = node.out.shape
    nodes = (*view.nodes, node)
    long = [(n, s) for n, s in zip(view.sizes, view.strides, strict=True) if n > 1]
    if [n for n, _ in long] == [n for n in sizes if n > 1]:
        strides = iter(s for _, s in long)
        return replace(view, sizes=sizes, strides=tuple(next(strides) if n > 1 else 0 for n in sizes), nodes=nodes)
    if view.strides == row_major(view.sizes):
        return replace(view, sizes=sizes, strides=row_major(sizes), nodes=nodes)
    return None
