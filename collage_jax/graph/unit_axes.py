"""Axes of size 1 beside the rows of heads, taken out.

``jax.nn.dot_product_attention`` has an axis for the queries that share a key, of size 1 for most models, which ``vmap``
moves about. Without it a product of heads looks like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from jax import lax

from .elementwise import ELEMENTWISE
from .ir import Constant, Graph, Node, Value
from .simplify import is_free, simplify
from .splice import traced_nodes

#: One axis of a value.
Axis: TypeAlias = tuple[Value, int]

_REDUCES = ("reduce_max", "reduce_sum", "reduce_min")
_RESHAPES = ("reshape", "squeeze", "expand_dims")


def without_unit_axes(graph: Graph) -> Graph:
    """``graph`` with its products of heads, and what is between them, rid of axes of size 1 that serve nothing."""
    dropped = _spread(graph, [axis for node in graph.nodes for axis in _spare(node)])
    return simplify(_Rewrite(graph, dropped).run()) if dropped else graph


def _spare(node: Node) -> Iterator[Axis]:
    """Axes of size 1 beside longer ones of the rows of a batched product."""
    if node.op != "dot_general" or node.barrier or not node.params["dimension_numbers"][1][0]:
        return
    for value, own in zip(node.inputs, _own(node), strict=True):
        spare = [axis for axis in own if value.shape[axis] == 1]
        yield from ((value, axis) for axis in spare if len(spare) < len(own))


def _own(node: Node) -> tuple[list[int], list[int]]:
    """The axes of each operand of a product that are neither summed nor batches."""
    contracted, batch = node.params["dimension_numbers"]
    lhs, rhs = (
        [a for a in range(v.ndim) if a not in map(int, (*contracted[i], *batch[i]))] for i, v in enumerate(node.inputs)
    )
    return lhs, rhs


def _spread(graph: Graph, seeds: Sequence[Axis]) -> dict[Value, frozenset[int]]:
    """Every axis that goes with one of ``seeds``, by value."""
    found: dict[Value, set[int]] = {}
    pending = list(seeds)
    while pending:
        value, axis = pending.pop()
        if isinstance(value, Constant) or axis in found.get(value, ()):
            continue
        found.setdefault(value, set()).add(axis)
        maker = graph.producer.get(value)
        for node in (*((maker,) if maker is not None else ()), *graph.users.get(value, ())):
            pending += next((group for group in _together(node) if (value, axis) in group), ())
    return {value: frozenset(axes) for value, axes in found.items()}


def _is_handled(node: Node) -> bool:
    if node.barrier or len(node.outputs) != 1:
        return False
    if node.op in ELEMENTWISE:
        return all(v.ndim in (0, node.out.ndim) for v in node.inputs) and is_free(node.params.get("sharding"))
    return node.op in (*_REDUCES, "dot_general", "transpose", "broadcast_in_dim") or _is_reshape(node)


def _is_reshape(node: Node) -> bool:
    return node.op in _RESHAPES and len(node.inputs) == 1 and (node.op != "reshape" or not node.params["dimensions"])


def _together(node: Node) -> Iterator[list[Axis]]:
    """The axes of size 1 that ``node`` has in common, in its operands and its result."""
    if not _is_handled(node):
        return
    out = node.out
    if node.op in ELEMENTWISE:
        groups = [[(v, a) for v in (*node.inputs, out) if v.ndim] for a in range(out.ndim)]
    elif node.op == "transpose":
        groups = [[(node.inputs[0], int(p)), (out, a)] for a, p in enumerate(node.params["permutation"])]
    elif node.op == "broadcast_in_dim":
        groups = [[(node.inputs[0], a), (out, int(d))] for a, d in enumerate(node.params["broadcast_dimensions"])]
    elif _is_reshape(node):
        groups = [[(node.inputs[0], a), (out, b)] for a, b in _alike(node.inputs[0].shape, out.shape)]
    elif node.op in _REDUCES:
        kept = [a for a in range(node.inputs[0].ndim) if a not in map(int, node.params["axes"])]
        groups = [[(node.inputs[0], a), (out, i)] for i, a in enumerate(kept)]
    else:
        groups = list(_of_product(node))
    yield from (group for group in groups if all(v.shape[a] == 1 for v, a in group))


def _alike(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Axes of size 1 that a reshape leaves where they are among the longer ones, which have to be the same."""
    gaps = [_gaps(before), _gaps(after)]
    if [n for n in before if n != 1] == [n for n in after if n != 1]:
        for pair in zip(*gaps, strict=True):
            yield from zip(*pair, strict=False)


def _gaps(sizes: Sequence[int]) -> list[list[int]]:
    """The axes of size 1 before, between and after the longer ones."""
    found: list[list[int]] = [[]]
    for axis, size in enumerate(sizes):
        if size == 1:
            found[-1].append(axis)
        else:
            found.append([])
    return found


def _of_product(node: Node) -> Iterator[list[Axis]]:
    (lhs, rhs), out = node.inputs, node.out
    contracted, batch = node.params["dimension_numbers"]
    yield from ([(lhs, int(a)), (rhs, int(b))] for a, b in zip(*contracted, strict=True))
    yield from ([(lhs, int(a)), (rhs, int(b)), (out, i)] for i, (a, b) in enumerate(zip(*batch, strict=True)))
    own = [(value, a) for value, axes in zip(node.inputs, _own(node), strict=True) for a in axes]
    yield from ([axis, (out, len(batch[0]) + i)] for i, axis in enumerate(own))


class _Rewrite:
    """The graph anew: ``small`` are values without their dropped axes, ``full`` those that were remade with them."""

    def __init__(self, graph: Graph, dropped: dict[Value, frozenset[int]]) -> None:
        self._graph, self._dropped = graph, dropped
        self._nodes: list[Node] = []
        self._small: dict[Value, Value] = {}
        self._full: dict[Value, Value] = {}

    def run(self) -> Graph:
        for node in self._graph.nodes:
            if _is_handled(node) and any(v in self._dropped for v in (*node.inputs, node.out)):
                self._shrink(node)
            else:
                self._nodes.append(replace(node, inputs=tuple(map(self._whole, node.inputs))))
        outputs = tuple(map(self._whole, self._graph.outputs))
        return Graph(self._graph.inputs, self._graph.constants, tuple(self._nodes), outputs)

    def _shrink(self, node: Node) -> None:
        operands = [self._without(v) for v in node.inputs]
        kept = [[a for a in range(v.ndim) if a not in self._dropped.get(v, ())] for v in (*node.inputs, node.out)]
        shape = tuple(node.out.shape[a] for a in kept[-1])
        if node.op in ELEMENTWISE:
            made = Value(node.out.aval.update(shape=shape))
            operands = [self._spread_by(v, small, kept[-1]) for v, small in zip(node.inputs, operands, strict=True)]
            params = {**node.params, "sharding": None} if "sharding" in node.params else node.params
            self._nodes.append(replace(node, params=params, inputs=tuple(operands), outputs=(made,)))
        else:
            made = self._traced(_smaller(node, kept, shape), operands)
        (self._small if node.out in self._dropped else self._full)[node.out] = made

    def _traced(self, fun: Any, operands: Sequence[Value]) -> Value:
        nodes, made = traced_nodes(fun, operands)
        self._nodes += nodes
        return made

    def _without(self, value: Value) -> Value:
        if value not in self._dropped:
            return self._whole(value)
        if value not in self._small:
            shape = tuple(n for a, n in enumerate(value.shape) if a not in self._dropped[value])
            self._small[value] = self._traced(lambda x: lax.reshape(x, shape), [self._full.get(value, value)])
        return self._small[value]

    def _spread_by(self, value: Value, small: Value, kept: Sequence[int]) -> Value:
        """``small`` with the axes ``kept`` of ``value``: one that it lost is spread over a longer one of the result."""
        shape = tuple(value.shape[a] for a in kept) if value.ndim else ()
        return small if small.shape == shape else self._traced(lambda x: lax.reshape(x, shape), [small])

    def _whole(self, value: Value) -> Value:
        if value in self._small and value not in self._full and value in self._graph.producer:
            self._full[value] = self._traced(lambda x: lax.reshape(x, value.shape), [self._small[value]])
        return self._full.get(value, value)


def _smaller(node: Node, kept: Sequence[Sequence[int]], shape: tuple[int, ...]) -> Any:
    """What ``node`` does to operands of which only the axes ``kept`` are there, giving ``shape``."""
    at = [{axis: i for i, axis in enumerate(axes)} for axes in kept]
    params = node.params

    def left(numbers: Any, side: int = 0) -> tuple[int, ...]:
        return tuple(at[side][int(a)] for a in numbers if int(a) in at[side])

    if node.op == "transpose":
        return lambda x: lax.transpose(x, left(params["permutation"]))
    if node.op == "broadcast_in_dim":
        dims = tuple(at[-1][int(d)] for a, d in enumerate(params["broadcast_dimensions"]) if a in at[0])
        return lambda x: x if x.shape == shape else lax.broadcast_in_dim(x, shape, dims)
    if node.op in _REDUCES:
        axes = left(params["axes"])
        return lambda x: node.eqn.primitive.bind(x, **{**params, "axes": axes}) if axes else x
    if node.op == "dot_general":
        (summed, also_summed), (batch, also_batch) = params["dimension_numbers"]
        numbers = (left(summed), left(also_summed, 1)), (left(batch), left(also_batch, 1))
        wishes = {name: params.get(name) for name in ("precision", "preferred_element_type", "out_sharding")}
        return lambda x, y: lax.dot_general(x, y, numbers, **wishes)
    return lambda x: lax.reshape(x, shape)
