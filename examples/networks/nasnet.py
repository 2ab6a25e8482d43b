"""NasNet-A: fifteen normal cells in three stages of five, with a reduction cell between stages."""

from itertools import pairwise

import jax
import jax.numpy as jnp

from .layers import average_pool, conv, max_pool
from .network import Network, bias, conv_weight

CELLS_PER_STAGE, TENSORS_PER_CELL = 5, 14
STAGES = (64, 128, 256)  # channels of one branch; a cell puts out five branches


def _cell_weights(prev, cur, branch, kernels):
    for inputs in (cur, prev):  # squeeze reads `cur`, fit reads `prev`
        yield from (conv_weight(1, 1, inputs, branch), bias(branch))
    for k in kernels:
        yield from (conv_weight(k, k, 1, branch), conv_weight(1, 1, branch, branch))


def _weights():
    """All normal cells, stage by stage, then the two reduction cells."""
    for stage, branch in enumerate(STAGES):
        inputs = 5 * branch if stage else 64
        for prev, cur in [(inputs, inputs), (inputs, 5 * branch)] + [(5 * branch, 5 * branch)] * 3:
            yield from _cell_weights(prev, cur, branch, (3, 3, 3, 3, 3))
    for before, branch in pairwise(STAGES):
        yield from _cell_weights(5 * before, 5 * before, branch, (7, 7, 5, 5, 3))


def separable(weights, x, stride=1):
    """A depthwise convolution, then a pointwise one; no bias and no activation."""
    depthwise, pointwise = weights
    padding = (depthwise.shape[0] - 1) // 2
    return conv(conv(x, depthwise, stride, padding, groups=x.shape[-1]), pointwise)


def _split(params, prev, cur):
    """Brings both inputs to the branch width; gives c, p and the pairs of the five separable convolutions."""
    squeeze, squeeze_bias, fit, fit_bias, *pairs = params
    c = jax.nn.relu(conv(cur, squeeze) + squeeze_bias)
    p = jax.nn.relu(conv(prev, fit) + fit_bias)
    return c, p, list(zip(pairs[::2], pairs[1::2], strict=True))


def normal_cell(params, prev, cur):
    """`(b, h, w, _)` twice to `(b, h, w, 5 * branch)`."""
    c, p, (sep1, sep2, sep3, sep4, sep5) = _split(params, prev, cur)
    branches = (
        separable(sep1, c) + c,
        separable(sep2, p) + separable(sep3, c),
        average_pool(c, 1) + p,
        average_pool(p, 1) + average_pool(p, 1),  # as the architecture was found: the same pooling twice
        separable(sep4, p) + separable(sep5, p),
    )
    return jnp.concatenate(branches, axis=-1)


def reduction_cell(params, prev, cur):
    """`(b, h, w, _)` twice to `(b, h / 2, w / 2, 5 * branch)`."""
    c, p, (sep_a, sep_b, sep_c, sep_d, sep_e) = _split(params, prev, cur)
    o0 = separable(sep_a, p, 2) + separable(sep_c, c, 2)
    o1 = max_pool(c) + separable(sep_b, p, 2)
    o2 = average_pool(c, 2) + separable(sep_d, p, 2)
    o3 = max_pool(c) + separable(sep_e, o0)
    o4 = average_pool(o0, 1) + o1
    return jnp.concatenate((o0, o1, o2, o3, o4), axis=-1)


def apply(params, x):
    """`x`: `(batch, 56, 56, 64)`; gives `(batch, 14, 14, 1280)`."""
    cells = [params[i : i + TENSORS_PER_CELL] for i in range(0, len(params), TENSORS_PER_CELL)]
    normal = iter(cells[: len(STAGES) * CELLS_PER_STAGE])
    reduction = iter(cells[len(STAGES) * CELLS_PER_STAGE :])
    prev = cur = x
    for stage in range(len(STAGES)):
        if stage:
            prev = cur = reduction_cell(next(reduction), prev, cur)
        for _ in range(CELLS_PER_STAGE):
            prev, cur = cur, normal_cell(next(normal), prev, cur)
    return cur


NASNET_A = Network(
    name="nasnet_a",
    title="NasNet-A",
    apply=apply,
    weights=tuple(_weights()),
    input_dims=(56, 56, 64),
    output_dims=(14, 14, 1280),
    gflops=6.962,
)
