"""Capability by rule: which operations a backend can run alone, and what it can fuse with them.

From a rule, ``generate`` lists regions: it starts at each supported operation and goes from post-dominator to
post-dominator; every legal prefix of that way is a region, not only the longest, for which one is fastest is a matter
of measuring.

*anchor*: the operation a region starts at. *feeder*: a node beside the paths that nothing but the region reads, such as
the broadcast of a bias.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..graph.dominators import PostDominators
from ..graph.elementwise import ELEMENTWISE
from ..graph.ir import Graph, Node
from .dimensions import is_spreader

#: Operations that a label names before it is shortened.
_LABEL_OPS = 6


class Refusal(Protocol):
    """A refusal with its reason, false in a condition, such as ``collage_jax.Unsupported``."""

    @property
    def reason(self) -> str: ...

    def __bool__(self) -> bool: ...


@dataclass(frozen=True, eq=False)
class FusionPath:
    """What would come to a region: ``between`` are the nodes on all paths from its last node to the next one.

    ``taken`` are the nodes it has, in order, the anchor first and feeders left out.
    """

    taken: tuple[Node, ...]
    between: tuple[Node, ...]

    @property
    def anchor(self) -> Node:
        return self.taken[0]


class FusionRule(ABC):
    """What a backend can run and fuse. Subclass it, or use ``ElementwiseFusion``.

    Every question is answered with True, False or a refusal with its reason; None is an error. ``max_nodes`` bounds the
    nodes of a region, feeders included. A rule that accepts everything makes up to ``max_nodes`` regions for each node.
    """

    max_nodes: int = 256

    @abstractmethod
    def op_rule(self, node: Node) -> bool | Refusal:
        """Can ``node`` run alone?"""

    @abstractmethod
    def fusion_rule(self, source: Node, sink: Node, path: FusionPath) -> bool | Refusal:
        """Can a region that ends in ``source`` take ``path.between`` and ``sink`` too?

        ``sink`` is the next node that all paths from ``source`` share: after it, the region has one exit again.
        """

    def feed_rule(self, node: Node) -> bool | Refusal:
        """Should ``node`` be part of a region that alone reads it? By default broadcasts: a bias enters as its vector.

        Feeders of feeders are asked about too.
        """
        return is_spreader(node)

    def verify(self, nodes: tuple[Node, ...]) -> bool | Refusal:
        """The last word on a region, feeders included; longer ones are tried whatever it is."""
        return True


class ElementwiseFusion(FusionRule):
    """Anchors, each alone and followed by any number of operations that work element by element.

    All arguments but ``where`` are names of operations. ``injective`` ones copy numbers to other places (transposes,
    reshapes) and are taken like elementwise ones; ``reductions`` may only end a region. ``where`` is asked about each
    node but feeders, for dtypes and shapes. Operands from outside, a bias or a residual, may come in anywhere. ::

        rule = ElementwiseFusion({"dot_general"}, {"add", "relu"}, where=lambda node: node.out.dtype == "float32")
    """

    def __init__(
        self,
        anchors: Collection[str],
        elementwise: Collection[str] = ELEMENTWISE,
        *,
        injective: Collection[str] = (),
        reductions: Collection[str] = (),
        where: Callable[[Node], bool | Refusal] | None = None,
        max_nodes: int = FusionRule.max_nodes,
    ) -> None:
        self.anchors = _names("anchors", anchors)
        self.elementwise = _names("elementwise", elementwise)
        self.injective = _names("injective", injective)
        self.reductions = _names("reductions", reductions)
        self.where = where
        self.max_nodes = max_nodes

    def op_rule(self, node: Node) -> bool | Refusal:
        return node.op in self.anchors and self._admits(node)

    def fusion_rule(self, source: Node, sink: Node, path: FusionPath) -> bool | Refusal:
        if source is not path.anchor and source.op in self.reductions:
            return False
        inner = self.elementwise | self.injective
        if sink.op not in inner | self.reductions or not all(node.op in inner for node in path.between):
            return False
        answers = map(self._admits, (*path.between, sink))
        return next(filter(lambda answer: not answer, answers), True)

    def _admits(self, node: Node) -> bool | Refusal:
        return True if self.where is None else _answer(self.where(node), "where")


def _names(parameter: str, ops: Collection[str]) -> frozenset[str]:
    if isinstance(ops, str) or not all(isinstance(op, str) for op in ops):
        raise TypeError(f'{parameter} must be a set of names of operations, got {ops!r}; write {{"dot_general"}}')
    return frozenset(ops)


def generate(graph: Graph, rule: FusionRule) -> Iterator[tuple[Node, ...]]:
    """The regions of ``graph`` that ``rule`` allows, each once, by place of the anchor, then the shorter first.

    Each is convex and holds all nodes on the paths from its anchor to its last node. Barriers and control flow are in
    none. Raises ``TypeError`` if the rule answers None, ``ValueError`` if its ``max_nodes`` is below 1.
    """
    if rule.max_nodes < 1:
        raise ValueError(f"max_nodes must be at least 1, got {rule.max_nodes}; leave it out for {FusionRule.max_nodes}")
    dominators = PostDominators(graph)
    seen: set[tuple[Node, ...]] = set()
    for anchor in graph.nodes:
        for taken in _prefixes(dominators, rule, anchor):
            nodes = _with_feeders(graph, rule, taken)
            if len(nodes) > rule.max_nodes:
                break  # longer ones have these feeders as well
            if nodes not in seen:
                seen.add(nodes)
                if _answer(rule.verify(nodes), "verify"):
                    yield nodes


def label(nodes: Sequence[Node]) -> str:
    """The operations of a region for the report, such as ``dot_general+add+tanh``; of many, the first and the last."""
    ops = [node.op for node in nodes]
    if len(ops) > _LABEL_OPS:
        return f"{'+'.join(ops[: _LABEL_OPS - 2])}+...+{ops[-1]} ({len(ops)} operations)"
    return "+".join(ops)


def _prefixes(dominators: PostDominators, rule: FusionRule, anchor: Node) -> Iterator[tuple[Node, ...]]:
    """``anchor`` alone, and with ever more of what follows, as far as the rule allows."""
    if not _can_be_inside(anchor) or not _answer(rule.op_rule(anchor), "op_rule"):
        return
    taken, source = (anchor,), anchor
    yield taken
    for sink in dominators.chain(anchor):
        between = dominators.between(source)
        if not all(map(_can_be_inside, (*between, sink))):
            return
        if not _answer(rule.fusion_rule(source, sink, FusionPath(taken, between)), "fusion_rule"):
            return
        taken, source = (*taken, *between, sink), sink
        yield taken


def _can_be_inside(node: Node) -> bool:
    # The bodies of control flow have regions of their own.
    return not node.barrier and not node.subgraphs


def _with_feeders(graph: Graph, rule: FusionRule, taken: Iterable[Node]) -> tuple[Node, ...]:
    """``taken`` and its feeders, in order. A feeder has no other reader, so that the region stays convex."""
    inside = set(taken)
    pending = list(inside)
    while pending:
        for value in pending.pop().inputs:
            node = graph.producer.get(value)
            if node is None or node in inside or not _can_be_inside(node) or not _is_read_by(graph, node, inside):
                continue
            if _answer(rule.feed_rule(node), "feed_rule"):
                inside.add(node)
                pending.append(node)
    return tuple(sorted(inside, key=graph.position.__getitem__))


def _is_read_by(graph: Graph, node: Node, inside: set[Node]) -> bool:
    """True if nothing but ``inside`` reads what ``node`` makes."""
    return all(v not in graph.output_set and inside.issuperset(graph.users.get(v, ())) for v in node.outputs)


def _answer(answer: bool | Refusal, question: str) -> bool | Refusal:
    if answer is None:
        raise TypeError(f"{question} must return True, False or Unsupported(reason), got None; does it return at all?")
    return answer
