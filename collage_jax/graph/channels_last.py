"""Convolutions of arrays with their channels first, as PyTorch and Equinox have them, with their channels last.

Most kernels want channels last. An array whose axes are in another order than in the program, or a transposition of
one, is carried on until something needs the order of the program; what lies between is computed in the other order.
Reshapes that undo each other, as ``vmap`` leaves them around a convolution, go first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from jax import lax

from .elementwise import ELEMENTWISE
from .ir import Constant, Graph, Node, Value
from .simplify import drop_dead, is_cheap_broadcast, is_free, simplify, with_inputs
from .splice import traced_nodes

#: Axis ``order[i]`` of a value is axis i of the array that stands for it.
Order: TypeAlias = tuple[int, ...]

_ELEMENTWISE = ELEMENTWISE | {"copy", "copy_p", "stop_gradient"}
_WINDOWS = frozenset({"reduce_window_max", "reduce_window_min", "reduce_window_sum"})
_REDUCES = frozenset({"reduce_max", "reduce_min", "reduce_sum", "argmax", "argmin"})


def channels_last(graph: Graph) -> Graph:
    """``graph`` with convolutions of channels-first arrays turned, and all that lies between them."""
    if not any(_turns(node) for node in graph.nodes):
        return graph
    return simplify(drop_dead(_Rewrite(_without_detours(graph)).run()))


def _without_detours(graph: Graph) -> Graph:
    """``graph`` without reshapes of what had the same shape some reshapes before."""
    origin: dict[Value, list[Value]] = {}
    alias: dict[Value, Value] = {}
    nodes: list[Node] = []
    for old in graph.nodes:
        node = with_inputs(old, alias)
        if _only_reshapes(node):
            earlier = origin.get(node.inputs[0], [node.inputs[0]])
            same = next((v for v in earlier if v.shape == node.out.shape), None)
            if same is not None and not (old.out in graph.output_set and same in graph.inputs):
                alias[old.out] = same
                continue
            origin[node.out] = [*earlier, node.out]
        nodes.append(node)
    return Graph(graph.inputs, graph.constants, tuple(nodes), tuple(alias.get(v, v) for v in graph.outputs))


def _only_reshapes(node: Node) -> bool:
    if node.barrier or len(node.inputs) != 1 or len(node.outputs) != 1 or isinstance(node.inputs[0], Constant):
        return False
    if not is_free(node.params.get("sharding")) or node.inputs[0].aval.size != node.out.aval.size:
        return False
    if node.op == "broadcast_in_dim":
        return node.inputs[0].shape == tuple(node.out.shape[d] for d in node.params["broadcast_dimensions"])
    return node.op in ("squeeze", "expand_dims") or (node.op == "reshape" and node.params.get("dimensions") is None)


def _turns(node: Node) -> bool:
    """True for a convolution of an array whose first two axes are the batch and the channels, in either role."""
    if node.op != "conv_general_dilated" or node.barrier or node.params["batch_group_count"] != 1:
        return False
    numbers = node.params["dimension_numbers"]
    first_two = all(set(map(int, spec[:2])) == {0, 1} for spec in numbers)
    return first_two and node.out.ndim > 2 and int(numbers.out_spec[0]) in (0, 1)


def _orders(node: Node) -> tuple[Order, Order, Order]:
    """Of the two operands and the result of a convolution that turns."""
    inner = tuple(range(2, node.out.ndim))
    data, kernel = (0, *inner, 1), (*inner, 1, 0)
    # The gradient of the weights: two arrays of data make a kernel.
    return (data, data, kernel) if int(node.params["dimension_numbers"].lhs_spec[0]) == 1 else (data, kernel, data)


class _Rewrite:
    """The graph anew: ``turned`` has the arrays that stand for values, each with its order."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes: list[Node] = []
        self._turned: dict[Value, tuple[Value, Order]] = {}
        self._made: dict[tuple[Value, Order], Value] = {}

    def run(self) -> Graph:
        for node in self._graph.nodes:
            if not self._turn(node):
                self._nodes.append(replace(node, inputs=tuple(map(self._plain, node.inputs))))
        outputs = tuple(map(self._plain, self._graph.outputs))
        return Graph(self._graph.inputs, self._graph.constants, tuple(self._nodes), outputs)

    def _turn(self, node: Node) -> bool:
        """Compute ``node`` in another order than the program's, if that is called for."""
        if node.barrier or len(node.outputs) != 1 or not is_free(node.params.get("sharding")):
            return False
        if _turns(node):
            self._convolve(node)
        elif node.op == "transpose" and node.inputs[0] in self._turned:
            self._put(node.out, *self._through(node))
        elif node.op in _ELEMENTWISE:
            return self._elementwise(node)
        elif (given := self._turned.get(node.inputs[0]) if node.inputs else None) is not None:
            return self._other(node, *given)
        else:
            return False
        return True

    def _stands(self, value: Value) -> tuple[Value, Order]:
        """The array that stands for ``value``, with its order; a transposition is seen through."""
        if value in self._turned:
            return self._turned[value]
        maker = self._graph.producer.get(value)
        if maker is not None and maker.op == "transpose":
            return self._through(maker)
        return value, tuple(range(value.ndim))

    def _through(self, node: Node) -> tuple[Value, Order]:
        source, order = self._stands(node.inputs[0])
        permutation = tuple(map(int, node.params["permutation"]))
        return source, tuple(permutation.index(axis) for axis in order)

    def _put(self, value: Value, array: Value, order: Order) -> None:
        self._turned[value] = array, order

    def _traced(self, fun: Any, *operands: Value) -> Value:
        nodes, made = traced_nodes(fun, operands)
        self._nodes += nodes
        return made

    def _plain(self, value: Value) -> Value:
        return self._in(value, tuple(range(value.ndim))) if value in self._turned else value

    def _in(self, value: Value, order: Order) -> Value:
        """The array that stands for ``value`` in ``order``."""
        array, given = self._stands(value)
        if given == order:
            return array
        if (value, order) not in self._made:
            maker = self._graph.producer.get(value)
            if maker is not None and is_cheap_broadcast(maker) and len(maker.inputs) == 1:
                source = self._plain(maker.inputs[0])
                self._made[value, order] = self._traced(_broadcast(maker, order), source)
            else:
                permutation = tuple(given.index(axis) for axis in order)
                self._made[value, order] = self._traced(lambda x: lax.transpose(x, permutation), array)
        return self._made[value, order]

    def _convolve(self, node: Node) -> None:
        lhs, rhs, out = _orders(node)
        numbers = node.params["dimension_numbers"]
        specs = (tuple(o.index(int(a)) for a in spec) for o, spec in zip((lhs, rhs, out), numbers, strict=True))
        params = {**node.params, "dimension_numbers": lax.ConvDimensionNumbers(*specs)}
        operands = self._in(node.inputs[0], lhs), self._in(node.inputs[1], rhs)
        self._put(node.out, self._traced(_bound(node, params), *operands), out)

    def _elementwise(self, node: Node) -> bool:
        full = [v for v in node.inputs if v.shape == node.out.shape and not self._is_spread(v)]
        if not any(v in self._turned for v in full) or any(v.ndim not in (0, node.out.ndim) for v in node.inputs):
            return False
        orders = {self._stands(v)[1] for v in full}
        if len(orders) != 1:
            return False
        (order,) = orders
        operands = tuple(self._in(v, order) if v.ndim else v for v in node.inputs)
        made = Value(node.out.aval.update(shape=tuple(node.out.shape[a] for a in order)))
        self._nodes.append(replace(node, inputs=operands, outputs=(made,)))
        self._put(node.out, made, order)
        return True

    def _is_spread(self, value: Value) -> bool:
        """True for what is cheap in any order: a scalar, or a broadcast of less."""
        maker = self._graph.producer.get(value)
        return isinstance(value, Constant) or value.ndim == 0 or (maker is not None and is_cheap_broadcast(maker))

    def _other(self, node: Node, array: Value, order: Order) -> bool:
        """An operation on axes by their numbers, of ``array`` in ``order``."""
        params = dict(node.params)
        operands = [array]
        if node.op in _WINDOWS:
            names = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
            params |= {name: _permuted(params[name], order) for name in names}
        elif node.op == "pad":
            params["padding_config"] = _permuted(params["padding_config"], order)
            operands.append(self._plain(node.inputs[1]))
        elif node.op == "rev":
            params["dimensions"] = tuple(order.index(int(a)) for a in params["dimensions"])
        elif node.op == "concatenate":
            if any(self._stands(v)[1] != order for v in node.inputs):
                return False
            operands = [self._in(v, order) for v in node.inputs]
            params["dimension"] = order.index(int(params["dimension"]))
        elif node.op in _REDUCES:
            gone = [int(a) for a in params["axes"]]
            kept = [a for a in range(len(order)) if a not in gone]
            params["axes"] = tuple(sorted(order.index(a) for a in gone))
            order = tuple(kept.index(a) for a in order if a in kept)
        else:
            return False
        self._put(node.out, self._traced(_bound(node, params), *operands), order)
        return True


def _permuted(values: Sequence[Any], order: Order) -> tuple[Any, ...]:
    return tuple(values[a] for a in order)


def _bound(node: Node, params: dict[str, Any]) -> Any:
    return lambda *operands: node.eqn.primitive.bind(*operands, **params)


def _broadcast(node: Node, order: Order) -> Any:
    """What ``node`` repeats, repeated into the shape of its result in ``order``."""
    shape = tuple(node.out.shape[a] for a in order)
    places = [order.index(int(d)) for d in node.params["broadcast_dimensions"]]
    sorted_places = sorted(range(len(places)), key=places.__getitem__)

    def fun(x: Any) -> Any:
        y = x if sorted_places == list(range(len(places))) else lax.transpose(x, sorted_places)
        return lax.broadcast_in_dim(y, shape, sorted(places))

    return fun
