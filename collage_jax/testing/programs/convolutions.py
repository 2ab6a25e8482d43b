"""Convolutions over one, two and three dimensions: strides, padding, dilation, groups, layouts, and what follows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..case import Case
from .shapes import f32, of, program

LAST = {3: ("NWC", "WIO", "NWC"), 4: ("NHWC", "HWIO", "NHWC"), 5: ("NDHWC", "DHWIO", "NDHWC")}
FIRST = {4: ("NCHW", "OIHW", "NCHW")}


def conv(x: Any, w: Any, padding: Any = "SAME", *, stride: int = 1, numbers: Any = None, **options: Any) -> Any:
    """A convolution, channels last unless ``numbers`` says otherwise."""
    strides = (stride,) * (x.ndim - 2)
    return lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=numbers or LAST[x.ndim], **options)


def cases() -> Iterator[Case]:
    """Convolutions by themselves, then with tails and as gradients."""
    image, kernel = f32(1, 9, 11, 8), f32(3, 3, 8, 16)
    yield program("convolution", conv, image, kernel)
    yield program("convolution of 32 channels", conv, f32(1, 12, 10, 32), f32(3, 3, 32, 32))
    yield program("convolution over a line", conv, f32(2, 15, 6), f32(3, 6, 10))
    yield program("convolution over a volume", conv, f32(1, 5, 6, 7, 4), f32(3, 3, 3, 4, 8))
    yield program("convolution with strides", partial(conv, stride=2), image, kernel)
    yield program("convolution without padding", partial(conv, padding="VALID"), image, kernel)
    yield program("convolution with uneven padding", partial(conv, padding=[(0, 2), (3, 1)]), image, kernel)
    yield program("convolution with negative padding", partial(conv, padding=[(-1, 0), (0, -2)]), image, kernel)
    yield program("dilated convolution", partial(conv, rhs_dilation=(2, 1)), image, kernel)
    yield program("transposed convolution", partial(conv, padding=[(1, 2), (2, 1)], lhs_dilation=(2, 2)), image, kernel)
    yield program("convolution of single points", conv, image, f32(1, 1, 8, 5))
    yield program("large kernel", conv, f32(1, 12, 12, 3), f32(7, 7, 3, 8))
    yield program("convolution in groups", partial(conv, feature_group_count=4), f32(1, 8, 8, 16), f32(3, 3, 4, 16))
    yield program("depthwise convolution", partial(conv, feature_group_count=12), f32(1, 9, 9, 12), f32(3, 3, 1, 12))
    yield program(
        "depthwise, more out", partial(conv, feature_group_count=6, stride=2), f32(1, 9, 9, 6), f32(3, 3, 1, 12)
    )
    yield program("channels first", partial(conv, numbers=FIRST[4]), f32(2, 6, 9, 9), f32(8, 6, 3, 3))
    yield program(
        "convolution in groups of a batch", partial(conv, batch_group_count=2), f32(4, 6, 6, 3), f32(3, 3, 3, 8)
    )
    yield program("convolution of nothing", conv, f32(0, 8, 8, 4), f32(3, 3, 4, 4))
    yield program("convolution in bfloat16", conv, of("bfloat16", 1, 8, 8, 16), of("bfloat16", 3, 3, 16, 16))
    yield program("convolution in float16", conv, of("float16", 1, 6, 6, 8), of("float16", 3, 3, 8, 8))
    yield from _tails(image, kernel)


def _tails(image: Any, kernel: Any) -> Iterator[Case]:
    bias, residual = f32(16), f32(1, 9, 11, 16)
    yield program("convolution + bias + relu", lambda x, w, b: jax.nn.relu(conv(x, w) + b), image, kernel, bias)
    yield program("convolution + scale + shift", lambda x, w, s, b: conv(x, w) * s + b, image, kernel, bias, bias)
    yield program("convolution + residual + relu", _residual, image, kernel, bias, residual)
    yield program("convolution + relu6", lambda x, w: jax.nn.relu6(conv(x, w)), image, kernel)
    yield program("convolution + silu", lambda x, w: jax.nn.silu(conv(x, w)), image, kernel)
    yield program("convolution + batch norm", _batch_norm, image, kernel, bias, bias, bias, bias)
    yield program("gradient of a convolution", jax.grad(_loss, (0, 1)), image, kernel)
    yield program("two convolutions", lambda x, v, w: conv(jax.nn.relu(conv(x, v)), w), image, kernel, f32(1, 1, 16, 8))


def _residual(x: Any, w: Any, b: Any, r: Any) -> Any:
    return jax.nn.relu(conv(x, w) + b + r)


def _batch_norm(x: Any, w: Any, mean: Any, variance: Any, scale: Any, shift: Any) -> Any:
    return (conv(x, w) - mean) * lax.rsqrt(jnp.square(variance) + 1e-3) * scale + shift


def _loss(x: Any, w: Any) -> Any:
    return jnp.sum(jnp.square(conv(x, w, stride=2)))
