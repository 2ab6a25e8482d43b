"""The order in which the search walks a graph: any topological one is right, and short ones make it quick.

What the search has to remember grows with the pieces that reach across a point. In a differentiated program much of
what the backward pass reads is written down in the forward pass, far from the piece that it is a part of; put off until
it is needed, it comes to lie beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from .piece import Piece


def in_shortest_order(
    pieces: Sequence[Piece], predecessors: Mapping[int, Collection[int]]
) -> tuple[Sequence[Piece], Mapping[int, Collection[int]]]:
    """The same graph with its nodes numbered anew, if that brings the nodes of pieces closer together."""
    nodes = set(predecessors).union(*predecessors.values(), *(piece.nodes for piece in pieces))
    place = {node: i for i, node in enumerate(_put_off(sorted(nodes), predecessors))}
    renumbered = [replace(piece, nodes=tuple(sorted(place[n] for n in piece.nodes))) for piece in pieces]
    if _reach(renumbered) >= _reach(pieces):
        return pieces, predecessors
    return renumbered, {place[n]: [place[p] for p in before] for n, before in predecessors.items()}


def _reach(pieces: Iterable[Piece]) -> int:
    """How far pieces reach, added up."""
    return sum(max(piece.nodes) - min(piece.nodes) for piece in pieces)


def _put_off(nodes: Sequence[int], predecessors: Mapping[int, Collection[int]]) -> list[int]:
    """``nodes``, which are in a topological order, in one in which each comes just before the first that reads it."""
    is_read = {p for before in predecessors.values() for p in before}
    ordered: dict[int, None] = {}
    for last in (n for n in nodes if n not in is_read):
        waiting = [last]
        while waiting:
            node = waiting[-1]
            missing = [p for p in predecessors.get(node, ()) if p not in ordered]
            if missing:
                waiting += reversed(missing)
            else:
                ordered[waiting.pop()] = None
    return list(ordered)
