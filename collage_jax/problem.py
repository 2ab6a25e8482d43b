"""What there is to place: a function at one signature, traced, split by what is frozen, composites recognised.

Made of a jaxpr and the kind of device alone, and equal in any process that is given the same, so that what one process
decides another can carry out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from . import _compat, target
from .graph.canonical import graph_key
from .graph.channels_last import channels_last
from .graph.doubling import double
from .graph.fold import fold_channel_affine
from .graph.gaps import close_gaps
from .graph.gates import ask_the_relu
from .graph.ir import Graph
from .graph.padding import fold_padding
from .graph.rebatching import rebatch
from .graph.split import Split, split
from .graph.trace import trace_jaxpr
from .graph.unit_axes import without_unit_axes
from .patterns.gradients import with_gradients
from .patterns.recognise import recognise
from .patterns.row_gradients import with_row_gradients

#: The first compute capability of a GPU for which there are kernels of whole gradients.
_GRADIENTS_FROM = 80


@dataclass(frozen=True, eq=False)
class Problem:
    """``split.each`` is the graph to place; ``frozen`` the numbers of the frozen inputs."""

    split: Split
    frozen: tuple[int, ...]
    has_effects: bool

    def divided(self, arguments: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """``arguments`` for all inputs of the program: the frozen ones, and the others."""
        held = set(self.frozen)
        return [arguments[i] for i in sorted(held)], [a for i, a in enumerate(arguments) if i not in held]

    @cached_property
    def key(self) -> str:
        """Equal for programs in which equal regions stand in equal places."""
        return graph_key(self.split.each, self.split.kept)

    @cached_property
    def graphs(self) -> dict[str, Graph]:
        """The graph to place and the bodies of its control flow at every depth, named as ``Place.graph`` says."""
        return dict(_named(self.split.each, ""))


def problem_of(closed_jaxpr: Any, frozen: Collection[int]) -> Problem:
    """What there is to place of a program whose inputs numbered ``frozen`` are frozen."""
    graph = fold_padding(channels_last(trace_jaxpr(_compat.without_dead_code(closed_jaxpr))))
    graph = ask_the_relu(without_unit_axes(rebatch(close_gaps(double(graph)))))
    values = [graph.inputs[i] for i in frozen]
    parts = split(fold_channel_affine(graph, values), values)
    return Problem(replace(parts, each=_recognised(parts.each)), tuple(frozen), graph.has_effects)


def _named(graph: Graph, name: str) -> Iterator[tuple[str, Graph]]:
    yield name, graph
    for place, node in enumerate(graph.nodes):
        for parameter, bodies in node.subgraphs.items():
            for number, body in enumerate(bodies):
                yield from _named(body, f"{name}/{place}.{parameter}.{number}".lstrip("/"))


def _recognised(graph: Graph) -> Graph:
    """``graph`` with composites recognised, in the bodies of its control flow too."""
    nodes = tuple(
        replace(n, subgraphs={k: tuple(map(_recognised, v)) for k, v in n.subgraphs.items()}) if n.subgraphs else n
        for n in graph.nodes
    )
    graph = replace(graph, nodes=nodes)
    gpu = target.current().gpu
    if gpu is not None and gpu.sm >= _GRADIENTS_FROM:
        graph = with_gradients(graph)
    if gpu is None:
        graph = with_row_gradients(graph)
    return replace(recognise(graph), wholes=graph.wholes)
