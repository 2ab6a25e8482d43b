"""What the op-level search chooses from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Nodes: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Piece:
    """A candidate as the search sees it: the nodes it covers, what it costs, and how it ranks in a tie (low first).

    ``is_step`` is False if its nodes run one by one after all, so that it cannot be part of a cycle.
    """

    nodes: Nodes
    cost: float
    rank: int = 0
    is_step: bool = True
