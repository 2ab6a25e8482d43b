"""Which convolutions can be run, and how the kernels see them.

Winograd's F(m x m, 3x3) makes m x m results from (m + 2) x (m + 2) products per pair of channels, where the definition
takes 9 m^2: 2.25 times as many for m = 2, 4 times for m = 4. After nearest upsampling by 2, with odd padding, patches
are doubled: 5 x 5 products make 4 x 4 results, 5.8 times fewer, and as exactly as for m = 2.

Errors. With unit roundoff u = 6e-8, a sum of n products is off by at most about u (64 + n / 64 + 20) a S. 64
products are summed at a time and then those sums; the transforms round about 20 times in a row; S is n times the
largest input times the largest weight; and a says how much larger than S the magnitudes summed on the way may be: 7 for
m = 2, and 69 for m = 4 with the points taken here, 0, +-sqrt(1/2), +-sqrt(2) and infinity (256 with the usual 0, +-1,
+-2). Rounding is random, so that errors are far smaller and hardly grow with the channels: relative to the largest
result, on normal numbers and 16 to 512 channels, below 5e-7 for m = 2, as by the definition, and below 2e-6 for
m = 4.

NaN and infinities come out where and as they do by the definition: a tile with a result that is not finite is computed
again by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from jax import lax

from ...graph.ir import Node, Value
from ...graph.windows import Window
from ..base import Unsupported
from ..own_kernels import precisions, refused_arrays

MULTIPLE = 16  # of channels

#: Bytes of weights that come from memory while a thread does one vector's multiplication and addition.
_WEIGHT_BYTES_PER_STEP = 8


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution with what follows it, in this order: ``bias``, ``summand``, ReLU. Sizes have a depth, 1 in 2-D.

    ``src`` are the sizes of what is convolved, after nearest upsampling of ``source`` by the factors ``up``.
    """

    nodes: tuple[Node, ...]
    labels: tuple[str, ...]
    result: Value
    source: Value
    weights: Value
    weights_axes: tuple[int, ...]  # that bring the weights into the order depth, height, width, in, out
    taps: slice  # of the depth: the others only meet padding
    src: tuple[int, ...]
    dst: tuple[int, ...]
    depth: tuple[int, int, int]  # kernel, stride, dilation
    pads: tuple[int, int, int]  # before
    bias: Value | None = None
    summand: Value | None = None
    relu: bool = False
    exact: bool = False  # as exact as the definition itself
    up: tuple[int, int] = (1, 1)  # the source is smaller by these factors: each pixel stands for as many

    @property
    def label(self) -> str:
        return "+".join(self.labels)

    def followed_by(self, label: str, nodes: tuple[Node, ...], **tail: Any) -> Convolution:
        labels, longer = (*self.labels, label), (*self.nodes, *nodes)
        return replace(self, nodes=longer, labels=labels, result=nodes[-1].out, **tail)

    def tile(self, threads: int) -> int:
        """Side of the squares computed at a time. Larger ones take fewer products, more weights, and fit less well."""
        tiles = (2,) if self.exact and not self.doubled else (4, 2)
        return min(tiles, key=lambda tile: self._work(tile, threads))

    @property
    def doubled(self) -> bool:
        """Whether every pixel of a patch is met twice in either direction."""
        return self.up == (2, 2) and all(pad % 2 for pad in self.pads[1:])

    def _work(self, tile: int, threads: int) -> float:
        batch, depth, height, width, channels_out = self.dst
        tiles = batch * depth * -(-height // tile) * -(-width // tile)
        points = 5 if tile == 4 and self.doubled else tile + 2
        per_tile = points**2 * self.depth[0] * self.src[-1] * channels_out
        return per_tile * (tiles / MULTIPLE / threads + 4 / _WEIGHT_BYTES_PER_STEP)

    def spec(self, tile: int, packed: bool) -> str:
        """All but the first token of the text that the native side reads."""
        sizes = {"src": self.src, "up": self.up, "dst": self.dst, "depth": self.depth, "pads": self.pads}
        flags = {"bias": self.bias is not None, "add": self.summand is not None, "relu": self.relu, "packed": packed}
        texts = [f"{key}={'x'.join(map(str, numbers))}" for key, numbers in sizes.items()]
        return " ".join([f"tile={tile}", *texts, *(f"{key}={int(flag)}" for key, flag in flags.items())])


def plan(node: Node) -> Convolution | Unsupported:
    """``node``, a ``conv_general_dilated``, as the kernels see it."""
    lhs, rhs = node.inputs
    refusal = _refusal(node)
    if refusal is not None:
        return refusal
    in_2d = lhs.ndim == 4
    out_axis, in_axis, *spatial = node.params["dimension_numbers"].rhs_spec
    strides, dilation = _numbers(node, "window_strides"), _numbers(node, "rhs_dilation")
    pads = [int(low) for low, _ in node.params["padding"]]
    if strides[-2:] != [1, 1] or dilation[-2:] != [1, 1]:
        return Unsupported(f"Winograd slides by 1 and has no gaps, got strides {strides} and dilation {dilation}")
    kernel = [rhs.shape[a] for a in spatial]
    if kernel[-2:] != [3, 3]:
        return Unsupported(f"the last two sizes of the kernel must be 3, got {kernel}")
    channels = (rhs.shape[in_axis], rhs.shape[out_axis])
    if any(n % MULTIPLE for n in channels):
        return Unsupported(f"channels come in multiples of {MULTIPLE}, got {channels[0]} in and {channels[1]} out")
    src, dst = ((v.shape[0], *([1] if in_2d else []), *v.shape[1:]) for v in (lhs, node.out))
    # In two dimensions there is one tap.
    size, stride, gap, pad = (1, 1, 1, 0) if in_2d else (kernel[0], strides[0], dilation[0], pads[0])
    meeting = Window(src[1], dst[1], size, stride, gap, pad).meeting()
    taps = slice(meeting.start, meeting.stop)
    return Convolution(
        nodes=(node,),
        labels=("conv",),
        result=node.out,
        source=lhs,
        weights=rhs,
        weights_axes=(*spatial, in_axis, out_axis),
        taps=taps,
        src=src,
        dst=dst,
        depth=(taps.stop - taps.start, stride, gap),
        pads=(pad - taps.start * gap, pads[-2], pads[-1]),
        exact=any(p not in (None, lax.Precision.DEFAULT) for p in precisions(node)),
    )


def _refusal(node: Node) -> Unsupported | None:
    lhs = node.inputs[0]
    refusal = refused_arrays(node)
    if refusal is not None:
        return refusal
    if lhs.ndim not in (4, 5):
        return Unsupported(f"the kernels have 2 or 3 spatial dimensions, got {lhs.ndim - 2}")
    lhs_spec, _, out_spec = node.params["dimension_numbers"]
    last = (0, lhs.ndim - 1, *range(1, lhs.ndim - 1))
    if tuple(lhs_spec) != last or tuple(out_spec) != last:
        return Unsupported("the kernels take and give arrays with the batch first and the channels last")
    if int(node.params["feature_group_count"]) != 1 or int(node.params["batch_group_count"]) != 1:
        return Unsupported("the kernels have no groups")
    if any(n != 1 for n in _numbers(node, "lhs_dilation")):
        return Unsupported("the kernels have no transposed convolutions")
    return None


def _numbers(node: Node, name: str) -> Sequence[int]:
    return [int(n) for n in node.params[name]]
