"""What a recogniser finds, and the recogniser that a pattern makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

from ...graph.ir import Graph, Node, Value
from ...graph.region import Region
from ..constants import is_float
from ..language import Pattern, Term
from ..matcher import Match, Matcher

Params: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Found:
    """Primitive nodes, in topological order, that together are the composite ``op``; ``root`` makes its output.

    ``also`` are inner values that have a meaning of their own.
    """

    op: str
    params: Params
    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    root: Node
    also: tuple[Value, ...] = ()

    def reads_its_inputs_alone(self, graph: Graph, free: frozenset[Node] = frozenset()) -> bool:
        """True if the nodes read nothing but the inputs, and none of them makes an input; ``free`` nodes may.

        Neither goes without saying. Values that are computed alike are one to a pattern, so that a norm of numbers that
        are spread anew for each reader has two x; and what is added to a norm may be its own difference from the mean.
        """
        own = {v for node in self.nodes if node not in free for v in node.outputs}
        return own.isdisjoint(self.inputs) and set(Region.of(graph, self.nodes).entries) <= set(self.inputs)


#: Everything of one kind in a graph. Several may overlap.
Recogniser: TypeAlias = Callable[[Matcher], Iterable[Found]]


@dataclass(frozen=True, eq=False)
class PatternRecogniser:
    """Finds ``term`` and reads the composite's parameters off each match; ``params`` refuses with None.

    ``inputs`` names the captures in canonical order, those that a match lacks left out. The first is ``x``: floating,
    and of the output's shape if ``keeps_shape``. ``through_casts`` also takes in a last conversion back to x's dtype,
    without which the output may be wider unless ``keeps_dtype``. ``also`` names captures for ``Found.also``.
    """

    op: str
    term: Term
    params: Callable[[Match], Params | None]
    inputs: tuple[str, ...] = ("x",)
    keeps_shape: bool = True
    through_casts: bool = False
    keeps_dtype: bool = False
    also: tuple[str, ...] = ()

    @cached_property
    def _pattern(self) -> Pattern:
        return Pattern(self.op, self.term, through_casts=self.through_casts)

    @cached_property
    def _read_inside(self) -> Pattern:
        return replace(self._pattern, multi_exit=True)

    def __call__(self, matcher: Matcher, *, read_inside: bool = False) -> Iterable[Found]:
        """``read_inside``: inner values may be read by others, too, as a gradient does."""
        for match in matcher.find(self._read_inside if read_inside else self._pattern):
            x = match[self.inputs[0]]
            out = match.root.out
            if not is_float(x.dtype) or not is_float(out.dtype) or (self.keeps_shape and x.shape != out.shape):
                continue
            if not self.through_casts and x.dtype != out.dtype:
                continue
            params = self.params(match)
            if params is not None:
                inputs = tuple(match[name] for name in self.inputs if name in match)
                also = tuple(match[name] for name in self.also)
                found = Found(self.op, params, inputs, match.nodes, match.root, also)
                found = _with_last_cast(matcher, found) if self.through_casts else found
                if not self.keeps_dtype or found.root.out.dtype == x.dtype:
                    yield found


def _with_last_cast(matcher: Matcher, found: Found) -> Found:
    """``found`` with the conversion of its output back to the dtype of x, if that is all that reads it."""
    x, out = found.inputs[0], found.root.out
    reader = matcher.graph.only_user(out)
    if x.dtype == out.dtype or reader is None or reader.op != "convert_element_type" or reader.out.dtype != x.dtype:
        return found
    return replace(found, nodes=Region.of(matcher.graph, (*found.nodes, reader)).nodes, root=reader)


def no_params(match: Match) -> Params:
    """For composites that have none."""
    return {}
