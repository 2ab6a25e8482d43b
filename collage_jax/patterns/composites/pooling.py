"""Pooling: windowed maximum and average, and the mean or maximum over whole axes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ...graph.ir import Node
from ...graph.region import Region
from ..constants import is_float
from ..dimensions import is_spreader
from ..language import any_, const, one_of, op, spread
from ..matcher import Match, Matcher
from ..vocabulary import div, is_spatial, mul
from .algebra import average, whole_inverse
from .found import Found, Params, PatternRecogniser
from .shapes import stands_straight, whole_axes

_WINDOW = ("window_dimensions", "window_strides", "padding")

_X = any_("x", exact=True)
_WINDOW_SUM = op("reduce_window_sum")(_X).named("sum")

# window sum of x, divided by the size of the window   or   by the window sum of ones
_AVERAGE = one_of(
    div(_WINDOW_SUM, const(name="count")),
    mul(_WINDOW_SUM, const(name="count", reading=whole_inverse)),
    div(_WINDOW_SUM, spread(op("reduce_window_sum")(const(1)).named("ones"))),
)


def _window(params: Any) -> dict[str, Any]:
    return {
        "window_dimensions": tuple(int(n) for n in params["window_dimensions"]),
        "window_strides": tuple(int(n) for n in params["window_strides"]),
        "padding": tuple((int(low), int(high)) for low, high in params["padding"]),
    }


def _dilation(params: Any, name: str, ndim: int) -> tuple[int, ...]:
    return tuple(int(n) for n in params.get(name) or (1,) * ndim)


def _is_dilated(params: Any) -> bool:
    return any(n != 1 for name in ("base_dilation", "window_dilation") for n in params.get(name) or ())


def _avg_pool_params(match: Match) -> Params | None:
    sums = match.params["sum"]
    if _is_dilated(sums):
        return None
    window = _window(sums)
    size = math.prod(window["window_dimensions"])
    if "ones" in match:
        return {**window, "count_include_pad": False} if _counts_inside(match, window) else None
    return {**window, "count_include_pad": True} if match.numbers["count"] == size else None


def _counts_inside(match: Match, window: dict[str, Any]) -> bool:
    """True if the windows over ones are those over x; dimensions without a window may be of size 1."""
    ones, x = match.node("ones"), match["x"]
    if _is_dilated(ones.params) or ones.out.ndim != x.ndim or not stands_straight(match, "ones"):
        return False
    other = _window(ones.params)
    shape = ones.inputs[0].shape
    for d in range(x.ndim):
        same = all(window[name][d] == other[name][d] for name in _WINDOW) and shape[d] == x.shape[d]
        bare = all(w["window_dimensions"][d] == 1 and w["padding"][d] == (0, 0) for w in (window, other))
        if not same and not (bare and shape[d] == 1):
            return False
    return True


def _mean_params(match: Match) -> Params | None:
    axes, x, out = whole_axes(match.attributes["axes"]), match["x"], match.root.out
    kept = tuple(1 if d in axes else n for d, n in enumerate(x.shape))
    bare = tuple(n for d, n in enumerate(x.shape) if d not in axes)
    if not axes or match.numbers["n"] != math.prod(x.shape[a] for a in axes) or out.shape not in (kept, bare):
        return None
    frame = match.captures["x"].frames[0]
    straight = tuple(d for d in range(x.ndim) if d not in axes) if out.shape == bare else range(x.ndim)
    places = [at for d, at in enumerate(frame) if d not in axes and at is not None and x.shape[d] != 1]
    wanted = [i for i, d in enumerate(straight) if d not in axes and x.shape[d] != 1]
    return {"axes": axes, "keepdims": out.shape == kept} if places == wanted else None


def _max_pools(matcher: Matcher) -> Iterable[Found]:
    for node in matcher.nodes("reduce_window_max"):
        x = node.inputs[0]
        if is_float(x.dtype) and all(n == 1 for n in _dilation(node.params, "base_dilation", x.ndim)):
            params = {
                **_window(node.params),
                "window_dilation": _dilation(node.params, "window_dilation", x.ndim),
            }
            yield Found("max_pool", params, (x,), (node,), node)


def _global_max_pools(matcher: Matcher) -> Iterable[Found]:
    """Maxima over exactly the spatial dimensions, with the reshape that keeps them.

    A maximum along the last dimension alone is left: it is more often part of a softmax's gradient.
    """
    for node in matcher.nodes("reduce_max"):
        x = node.inputs[0]
        axes = whole_axes(node.params["axes"])
        if not is_float(x.dtype) or not is_spatial(node) or axes == (x.ndim - 1,):
            continue
        root = _restoring_reader(matcher, node, axes) or node
        nodes = Region.of(matcher.graph, {node, root}).nodes
        yield Found(
            "global_max_pool",
            {"axes": axes, "keepdims": root is not node},
            (x,),
            nodes,
            root,
        )


def _restoring_reader(matcher: Matcher, node: Node, axes: tuple[int, ...]) -> Node | None:
    """The only reader of the reduction ``node``, if it does nothing but put the axes back with size 1."""
    reader = matcher.graph.only_user(node.out)
    x = node.inputs[0]
    kept = tuple(1 if d in axes else n for d, n in enumerate(x.shape))
    if reader is None or not is_spreader(reader) or reader.out.shape != kept:
        return None
    places = reader.params.get("broadcast_dimensions", tuple(d for d in range(x.ndim) if d not in axes))
    return reader if whole_axes(places) == tuple(d for d in range(x.ndim) if d not in axes) else None


RECOGNISERS = (
    PatternRecogniser("avg_pool", _AVERAGE, _avg_pool_params, keeps_shape=False),
    PatternRecogniser("mean", average(_X, "n"), _mean_params, keeps_shape=False, through_casts=True),
    _max_pools,
    _global_max_pools,
)
