"""The layers that several networks share, channels-last: `(batch, *spatial, channels)`."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Activation, weight and output dimensions by the number of spatial dimensions.
_DIMENSIONS = {2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


def conv(x: jax.Array, weight: jax.Array, stride: int = 1, padding: int = 0, groups: int = 1) -> jax.Array:
    """Cross-correlation in two or three dimensions, `padding` zeros on both sides of each.

    `weight` is `(*kernel, in / groups, out)`. Padding is explicit because "SAME" pads unevenly at stride 2.
    """
    spatial = weight.ndim - 2
    return lax.conv_general_dilated(
        x,
        weight,
        window_strides=(stride,) * spatial,
        padding=((padding, padding),) * spatial,
        dimension_numbers=_DIMENSIONS[spatial],
        feature_group_count=groups,
    )


def dense(x: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
    """`(..., in)` to `(..., out)`."""
    return x @ weight + bias


def average_pool(x: jax.Array, stride: int) -> jax.Array:
    """3x3 average pooling, padding 1, over the positions that lie inside the image (4 in a corner, 9 inside)."""
    inside = jnp.ones((1, *x.shape[1:3], 1), x.dtype)
    return _windows(x, stride, 0, lax.add) / _windows(inside, stride, 0, lax.add)


def max_pool(x: jax.Array) -> jax.Array:
    """3x3 max pooling, stride 2, padding 1 with minus infinity."""
    return _windows(x, 2, -np.inf, lax.max)


def _windows(x, stride, start, combine):
    padding = ((0, 0), (1, 1), (1, 1), (0, 0))
    return lax.reduce_window(x, np.array(start, x.dtype), combine, (1, 3, 3, 1), (1, stride, stride, 1), padding)


def upsample(x: jax.Array) -> jax.Array:
    """Nearest neighbour, `(b, h, w, c)` to `(b, 2h, 2w, c)`: `out[i, j] = x[i // 2, j // 2]`."""
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)
