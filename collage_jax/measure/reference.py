"""What stands for XLA where XLA itself takes so long that checking would take minutes.

Its convolutions run as products of matrices (``graph.products``), everything else as XLA runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from ..backends.base import Backend
from ..candidates import XLA
from ..graph.evaluate import callable_of, evaluate
from ..graph.ir import Node
from ..graph.products import by_products, laborious_s
from ..graph.region import Region
from ..graph.split import Split
from ..graph.work import repeats

#: Regions that take XLA longer than the first, in seconds, are checked without it; the second, not even timed.
LABORIOUS_S, TOO_LABORIOUS_S = 0.03, 0.1
#: So are whole programs of this many seconds.
WHOLE_S = 10.0

ESTIMATED = "not run: an estimate, by the number of products"


class _ByProducts(Backend):
    """XLA, but for convolutions."""

    name = XLA

    def emit(self, region: Region) -> Callable[..., Any]:
        return callable_of(region.nodes, region.entries, region.exits, by_products)


BY_PRODUCTS: Backend = _ByProducts()


def work_s(nodes: Iterable[Node]) -> float:
    """About how long XLA takes for the laborious convolutions among ``nodes``, in seconds; at least this long."""
    return sum(laborious_s(p) + repeats(p) * _inside_s(p) for node in nodes for p in node.primitives)


def _inside_s(node: Node) -> float:
    return sum(work_s(body.nodes) for bodies in node.subgraphs.values() for body in bodies)


@dataclass(frozen=True, eq=False)
class Reference:
    """What computes the results of a whole program to compare others with.

    ``run()`` does so on the arguments given, ``on(frozen, others)`` on any. ``xla_s`` is None where that is XLA, else
    about how long XLA would take, in seconds.
    """

    run: Callable[[], Any]
    on: Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]] | None = None
    xla_s: float | None = None


def of_program(split: Split, frozen: Sequence[Any], others: Sequence[Any], xla: Callable[[], Any]) -> Reference:
    """The program by XLA, ``xla()``, if that is quick enough, else what stands for it."""
    xla_s = work_s(split.each.nodes)
    is_slow = xla_s >= WHOLE_S

    def on(frozen: Sequence[Any], others: Sequence[Any]) -> Sequence[Any]:
        if not is_slow:
            return evaluate(split.each, *evaluate(split.once, *frozen), *others)
        kept = evaluate(split.once, *frozen, instead=by_products)
        return evaluate(split.each, *kept, *others, instead=by_products)

    compiled = jax.jit(on)
    return Reference(partial(compiled, frozen, others) if is_slow else xla, compiled, xla_s if is_slow else None)
