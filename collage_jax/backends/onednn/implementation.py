"""Which of the library's implementations would run a call, and in which of its forms the call is best made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType

from ..base import Unsupported
from .call import Call, spec

_REFERENCE = 9


@dataclass(frozen=True, eq=False)
class Choice:
    """A call in the form to make it in. ``packed_bytes`` is the size of its weights where they come packed."""

    call: Call
    spec: str
    library: str
    implementation: str
    is_packed: bool
    packed_bytes: int


def choose(module: ModuleType, call: Call, packed: bool) -> Choice | Unsupported:
    """The first of the best forms of ``call``, its weights packed beforehand or not."""
    best: tuple[int, Choice] | None = None
    reasons: dict[str, None] = {}
    for candidate, text in _forms(call, packed):
        try:
            answer = module.query(text)
        except ValueError as error:
            reasons[str(error)] = None
            continue
        rank = _rank(answer["impl"])
        if best is None or rank < best[0]:
            best = rank, Choice(candidate, text, module.version(), answer["impl"], packed, answer["packed_bytes"])
        if rank == 0:
            break
    if best is None:
        return Unsupported("; ".join(reasons))
    if best[0] == _REFERENCE:
        return Unsupported(f"oneDNN has only its reference implementation ({best[1].implementation}) for this {call.op}")
    return best[1]


def _forms(call: Call, packed: bool) -> Iterator[tuple[Call, str]]:
    for candidate in (call,) if call.sum is None else (call, call.without_sum()):
        for weights, inner in _layouts(call, packed):
            yield candidate, spec(candidate, weights, inner)


def _layouts(call: Call, packed: bool) -> Sequence[tuple[str, bool]]:
    """Layouts of weights and data, the plainer first: it wins a tie."""
    if call.weights is None:
        return [("plain", False)]
    if call.op == "matmul":
        return [("packed", False)] if packed else [("plain", False), ("reorder", False)]
    if packed:
        return [("packed", False), ("packed", True)]
    return [("plain", False), ("reorder", False), ("reorder", True)]


def _rank(implementation: str) -> int:
    """0 for code generated for the shape around small matrix products, 1 for other generated code, then the rest."""
    name = implementation.lower()
    if "ref" in name:
        return _REFERENCE
    for rank, mark in ((2, "gemm"), (0, "brg"), (1, "jit")):
        if mark in name and not (mark == "gemm" and "brg" in name):
            return rank
    return 3
