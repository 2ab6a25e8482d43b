"""An attention as kernels see it: heads, and where their rows lie in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite, isnan

import numpy as np

from ..graph.ir import Graph, Node, Value
from ..graph.origins import Inside
from ..graph.region import Region
from ..graph.strides import Strided, destinations, row_major, sources
from ..graph.wholes import Gradient
from ..patterns.composites import Found, find_attention
from ..patterns.matcher import Matcher
from .base import Proposal, Unsupported

#: Dimensions that heads may lie along (batch and heads, say), at most.
HEAD_DIMENSIONS = 2

#: Why a kernel takes no product of such arrays, or None.
Refused = Callable[[Node], Unsupported | None]

#: For each of q, k, v and the result: its axes in the order heads, rows, columns.
Axes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Mask:
    """``strides`` are of two dimensions of heads, of rows and columns. ``keeps``: which truth value keeps a score, None
    for numbers that are added. Where it is not kept, a score is ``fill``."""

    value: Value
    strides: tuple[int, ...]
    keeps: bool | None
    fill: float


@dataclass(frozen=True, eq=False)
class Heads:
    """``q``, ``k``, ``v`` and ``result`` have four dimensions each: two of heads, rows, columns."""

    nodes: tuple[Node, ...]
    q: Strided
    k: Strided
    v: Strided
    result: Strided
    scale: float
    mask: Mask | None

    @property
    def label(self) -> str:
        return "attention" if self.mask is None else "attention+mask"


def proposals(graph: Graph, refused: Refused, rows: Collection[str]) -> Iterator[Proposal]:
    """Every attention of ``graph``, with and without what only rearranges its arrays; the rest as in ``plans``."""
    for found in find_attention(Matcher(graph)):
        for heads in plans(graph, found, lambda node: not node.barrier, refused, rows):
            if isinstance(heads, Unsupported):
                yield Proposal(found.nodes, "attention", refused=heads)
            else:
                yield Proposal(heads.nodes, heads.label)


def read(region: Region, refused: Refused, rows: Collection[str]) -> Heads | Unsupported:
    """The attention that all nodes of ``region`` are."""
    inside = set(region.nodes)
    alone = Graph(region.entries, (), region.nodes, region.exits)
    reasons: dict[str, None] = {}
    for found in find_attention(Matcher(alone)):
        for heads in plans(alone, found, inside.__contains__, refused, rows):
            if isinstance(heads, Unsupported):
                reasons[heads.reason] = None
            elif set(heads.nodes) == inside:
                return heads
    return Unsupported("; ".join(reasons) or f"this is no attention: {', '.join(region.ops)}")


def plans(
    graph: Graph, found: Found, inside: Inside, refused: Refused, rows: Collection[str]
) -> Iterator[Heads | Unsupported]:
    """``found`` alone, and with all reshapes and transpositions that only serve it; or why it cannot be run.

    ``refused`` says why a kernel takes no product of such arrays. Of those of ``q``, ``k``, ``v`` and ``result`` that
    are in ``rows`` the kernel reads or writes whole rows.
    """
    axes, refusal, mask = axes_of(found), _refused(found, refused), mask_of(found)
    if refusal is not None or isinstance(axes, Unsupported) or isinstance(mask, Unsupported):
        yield next(why for why in (refusal, axes, mask) if isinstance(why, Unsupported))
        return
    users = [next(node for node in found.nodes if value in node.inputs) for value in found.inputs]
    options = {
        name: [in_order(seen, axes[name]) for seen in sources(graph, value, user, inside)]
        for name, value, user in zip("qkv", found.inputs, users, strict=False)
    }
    options["result"] = [in_order(seen, axes["result"]) for seen in destinations(graph, found.root.out, inside)]
    for name in rows:
        options[name] = [seen for seen in options[name] if seen.strides[3] == 1 or seen.sizes[3] == 1]
    missing = [name for name, seen in options.items() if not seen]
    if missing:
        yield Unsupported(f"the last axis in memory must be the columns of {' and '.join(missing)}")
        return
    known: set[tuple[Node, ...]] = set()
    for choice in (0, -1):
        seen = {name: option[choice] for name, option in options.items()}
        nodes = Region.of(graph, (*found.nodes, *(node for each in seen.values() for node in each.nodes))).nodes
        made = {value for node in nodes for value in node.outputs}
        # What two of them read is looked through for both, or for none.
        if nodes not in known and made.isdisjoint(each.value for name, each in seen.items() if name != "result"):
            known.add(nodes)
            yield Heads(nodes, **seen, scale=float(np.float32(found.params["scale"])), mask=mask)


def _refused(found: Found, refused: Refused) -> Unsupported | None:
    for node in found.nodes:
        refusal = refused(node) if node.op == "dot_general" else None
        if refusal is not None:
            return refusal
    scale = float(found.params["scale"])
    return None if isfinite(np.float32(scale)) else Unsupported(f"the scores are multiplied by {scale}")


def axes_of(found: Found | Gradient) -> Axes | Unsupported:
    """Where an attention's arrays have their heads, rows and columns."""
    (contracted, batch), (summed, heads) = found.params["qk"], found.params["av"]
    q, v = found.params["q_operand"], found.params["v_operand"]
    count = len(batch[0])
    if count > HEAD_DIMENSIONS:
        return Unsupported(f"heads may lie along two dimensions, got {count}")
    if sorted(int(a) for a in heads[1 - v]) != list(range(count)):
        return Unsupported("the two products must have the same heads")
    ndim = {name: value.ndim for name, value in zip("qkv", found.inputs, strict=False)}
    columns = {"q": contracted[q], "k": contracted[1 - q], "v": summed[v]}
    if any(len(axes) != 1 for axes in columns.values()) or any(n != count + 2 for n in ndim.values()):
        return Unsupported("q, k and v must have one axis of rows and one of columns for each head")
    order = [[int(a) for a in heads[1 - v]].index(i) for i in range(count)]  # of heads in the second product
    of_heads = {"q": batch[q], "k": batch[1 - q], "v": [heads[v][at] for at in order]}
    axes: Axes = {}
    for name in "qkv":
        given, last = [int(a) for a in of_heads[name]], int(columns[name][0])
        (other,) = (a for a in range(ndim[name]) if a not in (*given, last))
        # The summed axis of v are its rows.
        axes[name] = (*given, last, other) if name == "v" else (*given, other, last)
    axes["result"] = (*order, count + 1 - v, count + v)  # the rows are the other operand's
    return axes


def in_order(seen: Strided, axes: Sequence[int]) -> Strided:
    """``seen`` with the axes in that order, after as many heads of size 1 as are missing."""
    ordered = seen.transposed(axes)
    missing = HEAD_DIMENSIONS + 2 - len(axes)
    return replace(ordered, sizes=(1,) * missing + ordered.sizes, strides=(0,) * missing + ordered.strides)


def mask_of(found: Found | Gradient) -> Mask | Unsupported | None:
    """Its mask, None if there is none."""
    kind = found.params["mask"]
    if kind == "none":
        return None
    value = found.inputs[3]
    wanted = np.dtype(found.inputs[0].dtype if kind == "bias" else np.bool_)
    if value.dtype != wanted:
        return Unsupported(f"a mask of {wanted} is needed, got {value.dtype}")
    count, q = len(found.params["qk"][1][0]), found.params["q_operand"]
    strides = [0] * (count + 2)
    for at, size, stride in zip(found.params["mask_dims"], value.shape, row_major(value.shape), strict=True):
        if at is not None and size > 1:
            strides[at] = stride
    rows, columns = (count, count + 1) if q == 0 else (count + 1, count)
    fill = 0.0 if kind == "bias" else float(np.float32(found.params["fill"]))
    if strides[columns] not in (0, 1) or isnan(fill):
        return Unsupported("the mask's last axis must be that of the keys, and what it puts in must be a number")
    ordered = (*(0,) * (HEAD_DIMENSIONS - count), *strides[:count], strides[rows], strides[columns])
    return Mask(value, ordered, {"bias": None, "keep": True, "drop": False}[kind], fill)
