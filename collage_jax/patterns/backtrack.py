"""Matching one term at one value, by backtracking: every way to match is yielded, with what it captured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from ..graph.ir import Constant, Graph, Node, Value
from .constants import is_float, is_widening, read_scalar
from .dimensions import Frame, frame_before, frame_before_reduction, identity, is_spreader
from .language import COMMUTATIVE, Any_, Const, OneOf, Op, Same, Spread, Term
from .numbering import Numbers, same_value

#: Operations whose operands have the dimensions of the output, in the same places.
# fmt: off
_KEEPS_DIMS = COMMUTATIVE | {
    "abs", "atan2", "cbrt", "ceil", "clamp", "clip", "convert_element_type", "cos", "div", "elu", "erf", "erfc", "exp",
    "exp2", "expm1", "floor", "ge", "gelu", "gelu_gradient", "gt", "hard_sigmoid", "hard_swish", "integer_pow",
    "is_finite", "le", "leaky_relu", "log", "log1p", "log_softmax", "logistic", "lt", "mish", "neg", "nextafter", "not",
    "pow", "relu", "relu6", "rem", "round", "rsqrt", "select_n", "sigmoid", "sign", "silu", "sin", "softmax",
    "softplus", "sqrt", "square", "sub", "tanh",
}
# fmt: on


@dataclass(frozen=True, eq=False)
class Capture:
    """What a name stands for.

    ``steps``: the captured value with its frame, first as the pattern reads it, then before each of ``nodes``, the
    broadcasts and widening casts that a wildcard looked through. ``frames``: its frame at every place of the name.
    """

    steps: tuple[tuple[Value, Frame], ...]
    nodes: tuple[Node, ...] = ()
    frames: tuple[Frame, ...] = ()
    node: Node | None = None
    number: float | None = None

    @staticmethod
    def of(
        value: Value,
        frame: Frame,
        node: Node | None = None,
        number: float | None = None,
    ) -> Capture:
        return Capture(((value, frame),), frames=(frame,), node=node, number=number)

    def resolve(self, inside: frozenset[Node]) -> tuple[Value, Frame]:
        """The value, and its frame, as it enters a match that holds the nodes ``inside``."""
        depth = next(
            (i for i, node in enumerate(self.nodes) if node not in inside),
            len(self.nodes),
        )
        return self.steps[depth]


@dataclass(frozen=True, eq=False)
class State:
    """What has been matched so far: ``nodes`` for certain, ``edges`` if nothing else reads them."""

    captures: Mapping[str, Capture] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    nodes: frozenset[Node] = frozenset()
    edges: frozenset[Node] = frozenset()

    def with_nodes(self, nodes: Iterable[Node]) -> State:
        return replace(self, nodes=self.nodes.union(nodes))

    def with_edges(self, nodes: tuple[Node, ...]) -> State:
        return replace(self, edges=self.edges.union(nodes)) if nodes else self


Reader: TypeAlias = tuple[Node, int]
States: TypeAlias = Iterator[State]


@dataclass(frozen=True, eq=False)
class Backtracker:
    """Matches terms in ``graph``; ``casts`` lets conversions between floating dtypes stand between any two nodes."""

    graph: Graph
    numbers: Numbers
    casts: bool

    def at_root(self, term: Term, root: Node) -> States:
        """Every way in which ``term`` describes ``root``."""
        value = root.outputs[0]
        return self._value(term, value, identity(value), State(), None)

    def _value(
        self,
        term: Term,
        value: Value,
        frame: Frame,
        state: State,
        reader: Reader | None,
    ) -> States:
        """Ways to match ``term`` at ``value``, operand ``reader[1]`` of node ``reader[0]``."""
        match term:
            case Op():
                yield from self._op(term, value, frame, state)
            case Any_():
                yield from self._capture(term, self._wildcard(term, value, frame, reader), state)
            case OneOf():
                makers = self._possible_heads(value)
                for option in term.options:
                    if option.heads is None or makers is None or not makers.isdisjoint(option.heads):
                        for found in self._value(option, value, frame, state, reader):
                            yield from self._capture(term, Capture.of(value, frame), found)
            case Const():
                yield from self._const(term, value, frame, state)
            case Spread():
                yield from self._spread(term, value, frame, state)
            case _:
                raise AssertionError(f"unknown term {term!r}")

    def _possible_heads(self, value: Value) -> frozenset[str] | None:
        """The operations that an ``op`` term can find at ``value``; None for any, behind casts."""
        node = self.graph.producer.get(value)
        if node is None:
            return frozenset()
        return None if self._is_cast(node) else frozenset({node.op})

    def _is_cast(self, node: Node) -> bool:
        if not self.casts or node.op != "convert_element_type":
            return False
        return is_float(node.inputs[0].dtype) and is_float(node.out.dtype)

    def _op(self, term: Op, value: Value, frame: Frame, state: State) -> States:
        node = self.graph.producer.get(value)
        skipped: list[Node] = []
        while node is not None and node.op not in term.ops and self._is_cast(node):
            skipped.append(node)
            value = node.inputs[0]
            node = self.graph.producer.get(value)
        if node is None or node.op not in term.ops or (term.where is not None and not term.where(node)):
            return
        attributes = _attributes(term, node, state.attributes)
        if attributes is None:
            return
        added = replace(state.with_nodes([*skipped, node]), attributes=attributes)
        for order in _orders(term, node):
            for found in self._operands(node, frame, order, added):
                yield from self._capture(term, Capture.of(value, frame, node=node), found)

    def _operands(
        self,
        node: Node,
        frame: Frame,
        order: tuple[tuple[Term, int], ...],
        state: State,
    ) -> States:
        if not order:
            yield state
            return
        term, place = order[0]
        value = node.inputs[place]
        for found in self._value(term, value, _operand_frame(node, value, frame), state, (node, place)):
            yield from self._operands(node, frame, order[1:], found)

    def _wildcard(self, term: Any_, value: Value, frame: Frame, reader: Reader | None) -> Capture:
        """The capture of ``value``, with the broadcasts and widening casts that it can absorb."""
        steps, skipped = [(value, frame)], []
        through_spreaders = reader is not None and not term.exact and _is_spread_operand(*reader)
        while (maker := self.graph.producer.get(value)) is not None:
            if through_spreaders and is_spreader(maker):
                frame = frame_before(maker, frame)
            elif not (self._is_cast(maker) and is_widening(maker.inputs[0].dtype, maker.out.dtype)):
                break
            skipped.append(maker)
            value = maker.inputs[0]
            steps.append((value, frame))
        return Capture(tuple(steps), tuple(skipped), (frame,))

    def _const(self, term: Const, value: Value, frame: Frame, state: State) -> States:
        scalar = read_scalar(self.graph, value)
        if scalar is None or (term.reading is not None and scalar.number == 0):
            return
        if term.reading is not None:
            scalar = replace(scalar, number=term.reading(scalar.number))
        if term.value is None or scalar.is_close(term.value, term.tolerance):
            here = Capture.of(value, frame, number=scalar.number)
            yield from self._capture(term, here, state.with_edges(scalar.nodes))

    def _spread(self, term: Spread, value: Value, frame: Frame, state: State) -> States:
        skipped: list[Node] = []
        inner = value
        while (node := self.graph.producer.get(inner)) is not None and (is_spreader(node) or self._is_cast(node)):
            frame = frame_before(node, frame) if is_spreader(node) else frame
            skipped.append(node)
            inner = node.inputs[0]
        for found in self._value(term.term, inner, frame, state.with_nodes(skipped), None):
            yield from self._capture(term, Capture.of(value, frame), found)

    def _capture(self, term: Term, new: Capture, state: State) -> States:
        """``state`` with ``new`` under the term's name, unless that name already stands for something else."""
        state = state.with_edges(new.nodes)
        if term.name is None:
            yield state
            return
        old = state.captures.get(term.name)
        if old is not None:
            if not self._agree(old, new):
                return
            new = replace(old, frames=old.frames + new.frames)
        yield replace(state, captures={**state.captures, term.name: new})

    def _agree(self, old: Capture, new: Capture) -> bool:
        if old.number is not None:
            return old.number == new.number
        return same_value(self.numbers, old.steps[-1][0], new.steps[-1][0])


def _orders(term: Op, node: Node) -> list[tuple[tuple[Term, int], ...]]:
    """The ways to pair the term's operands with the node's inputs."""
    args = term.args
    if args is None:
        return [()]
    if len(args) != len(node.inputs) and not (term.rest and len(args) < len(node.inputs)):
        return []
    straight = tuple((arg, i) for i, arg in enumerate(args))
    if node.op not in COMMUTATIVE or len(args) != 2 or args[0] is args[1] or node.inputs[0] is node.inputs[1]:
        return [straight]
    return [straight, ((args[0], 1), (args[1], 0))]


def _attributes(term: Op, node: Node, known: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """``known`` with what the node's parameters add, or None if they are not what the term asks for."""
    for name, wanted in term.attributes.items():
        if name not in node.params:
            return None
        actual = node.params[name]
        if isinstance(wanted, Same):
            if wanted.name in known and known[wanted.name] != actual:
                return None
            known = {**known, wanted.name: actual}
        elif callable(wanted) and not isinstance(wanted, type):
            if not wanted(actual):
                return None
        elif not _equal(wanted, actual):
            return None
    return known


def _equal(wanted: Any, actual: Any) -> bool:
    if isinstance(wanted, float) and isinstance(actual, float):
        return bool(np.isclose(wanted, actual, rtol=1e-6, atol=0.0))
    return bool(actual == (tuple(wanted) if isinstance(wanted, list) else wanted))


def _operand_frame(node: Node, value: Value, frame: Frame) -> Frame:
    if node.op in _KEEPS_DIMS:
        return frame if value.ndim == len(frame) else (None,) * value.ndim
    if node.op.startswith("reduce_") and "axes" in node.params:
        return frame_before_reduction(node, frame)
    return identity(value)


def _is_spread_operand(node: Node, place: int) -> bool:
    """True if the operand is broadcast over its siblings, rather than they over it."""
    if node.op not in _KEEPS_DIMS:
        return False
    siblings = [v for i, v in enumerate(node.inputs) if i != place and not isinstance(v, Constant)]
    out = node.out.shape
    return bool(siblings) and (node.inputs[place].shape != out or any(v.shape == out for v in siblings))
