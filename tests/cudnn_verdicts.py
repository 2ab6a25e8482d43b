"""Whether what the backend says of a region is what cuDNN does with its graph, for one GPU.

A process of its own for each: cuDNN keeps kernels that it compiled for one.

    python tests/cudnn_verdicts.py sm_80 110

What the backend supports must have a plan that cuDNN builds, up to loading it where that takes a driver; what it
refuses because cuDNN does must have none. Writes the counts as JSON, then every disagreement.
"""

from __future__ import annotations

import json
import sys
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
from batch_norms import flax_batch_norm

from collage_jax import target
from collage_jax.backends import cudnn
from collage_jax.backends.base import Unsupported
from collage_jax.backends.cudnn.shipped import written
from collage_jax.gpu.device import known
from collage_jax.graph.region import Region
from collage_jax.problem import problem_of

DTYPES = ("float32", "float16", "bfloat16", "float64", "int8", "complex64")
#: How cuDNN says that a kernel which it has compiled cannot be loaded here.
NO_DRIVER = ("there is no NVIDIA driver", "CUDA_DRIVER")


def shape_of(*sizes, dtype):
    return jax.ShapeDtypeStruct(sizes, dtype)


def normalized(x, mean, variance):
    return (x - mean) * jax.lax.rsqrt(variance + 1e-3)


def convolution(draw, dtype):
    spatial = int(draw.integers(1, 5))
    groups, each = int(draw.choice([1, 1, 2, 32])), int(draw.choice([1, 2, 3, 8, 16, 48]))
    last = bool(draw.integers(2))
    size = int(draw.choice([4, 7, 14]))
    features, kernel = groups * each, int(draw.integers(1, 4))
    layout = (*range(1, 1 + spatial),)
    names = "DHWT"[:spatial]
    specs = (f"N{names}C", f"{names}IO", f"N{names}C") if last else (f"NC{names}", f"OI{names}", f"NC{names}")
    padding = [tuple(int(n) for n in draw.integers(-1 if draw.random() < 0.1 else 0, 3, 2)) for _ in layout]
    attributes = {
        "window_strides": [int(draw.integers(1, 3))] * spatial,
        "padding": padding,
        "rhs_dilation": [int(draw.integers(1, 3))] * spatial,
        "feature_group_count": groups,
        "dimension_numbers": specs,
        "precision": [None, jax.lax.Precision.HIGHEST][int(draw.integers(2))],
    }
    x = (2, *(size,) * spatial, features) if last else (2, features, *(size,) * spatial)
    w = (*(kernel,) * spatial, each, features) if last else (features, each, *(kernel,) * spatial)

    def conv(x, w):
        return jax.lax.conv_general_dilated(x, w, **attributes)

    x, w = shape_of(*x, dtype=dtype), shape_of(*w, dtype=dtype)
    y = jax.eval_shape(conv, x, w)
    if 0 in y.shape:
        return None
    tail = [
        lambda y: y,
        jax.nn.relu,
        jnp.tanh,
        jax.nn.gelu,
        lambda y: jax.nn.silu(y * 0.5),
        lambda y: jnp.clip(y, -1, 1),
    ]
    bias = shape_of(y.shape[-1], dtype=dtype)
    way = int(draw.integers(6))
    if way == 0 or not jnp.issubdtype(dtype, jnp.floating):
        return conv, (x, w)
    if way == 1:
        return lambda x, w, dy: jax.vjp(conv, x, w)[1](dy), (x, w, y)
    after = tail[int(draw.integers(len(tail)))]
    if way == 4:
        return lambda x, w, dy: jnp.where(x > 0, jax.vjp(conv, x, w)[1](dy)[0], 0), (x, w, y)
    if way == 2:
        return lambda x, w, b: after(conv(x, w) + b), (x, w, bias)
    if way == 3:
        along = (-1,) if last else (-1, *(1,) * spatial)
        channels = shape_of(y.shape[-1 if last else 1], dtype=dtype)
        return (
            lambda x, w, m, v: after(normalized(conv(x, w), m.reshape(along), v.reshape(along))),
            (x, w, channels, channels),
        )
    return lambda x, w, b, r: after(conv(x, w) + b + r), (x, w, bias, y)


def pooling(draw, dtype):
    last, size = bool(draw.integers(2)), int(draw.integers(2, 4))
    dims = (1, size, size, 1) if last else (1, 1, size, size)
    strides = tuple(int(draw.integers(1, 3)) if n > 1 else 1 for n in dims)
    padding = [(int(draw.integers(2)),) * 2 if n > 1 else (0, 0) for n in dims]
    if not jnp.issubdtype(dtype, jnp.floating):
        return None

    def average(x):
        return jax.lax.reduce_window(x, jnp.zeros((), dtype), jax.lax.add, dims, strides, padding) / (size * size)

    def largest(x):
        return jax.lax.reduce_window(x, jnp.array(-jnp.inf, dtype), jax.lax.max, dims, strides, padding)

    return (average, largest)[int(draw.integers(2))], (shape_of(2, 9, 9, 9, dtype=dtype),)


def norm(draw, dtype):
    rows, columns = int(draw.choice([1, 6, 64])), int(draw.choice([3, 64, 768]))

    def layer_norm(x, s, b):
        return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-3) * s + b

    def rms_norm(x, s, b):
        return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-3) * s

    def batch_norm(x, s, b):
        return jax.nn.relu(normalized(x, s, b))

    vector = shape_of(columns, dtype=dtype)
    return (layer_norm, rms_norm, batch_norm)[int(draw.integers(3))], (
        shape_of(rows, columns, dtype=dtype),
        vector,
        vector,
    )


def attention(draw, dtype):
    heads, width = int(draw.integers(1, 5)), int(draw.choice([8, 17, 64, 256]))
    q, k = (shape_of(2, int(n), heads, width, dtype=dtype) for n in draw.choice([5, 64, 128], 2))

    def attend(q, k, v):
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / 8
        return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)

    return attend, (q, k, k)


def attention_gradient(draw, dtype):
    """A training step around an attention, perhaps with a mask."""
    heads, width = int(draw.integers(1, 5)), int(draw.choice([8, 17, 64, 128, 256]))
    q, k = (shape_of(2, int(n), heads, width, dtype=dtype) for n in draw.choice([5, 64, 128], 2))
    if not jnp.issubdtype(dtype, jnp.floating):
        return None
    mask = (None, shape_of(1, 1, q.shape[1], k.shape[1], dtype=bool))[int(draw.integers(2))]

    def step(q, k, v, do, mask=None):
        o, pull_back = jax.vjp(lambda q, k, v: jax.nn.dot_product_attention(q, k, v, mask=mask), q, k, v)
        return o, *pull_back(do)

    return step, (q, k, k, q, *(() if mask is None else (mask,)))


def norm_gradient(draw, dtype):
    """A training step around a norm."""
    drawn = norm(draw, dtype) if jnp.issubdtype(dtype, jnp.floating) else None
    if drawn is None:
        return None
    fun, (x, scale, shift) = drawn

    def step(x, scale, shift, dy):
        y, pull_back = jax.vjp(lambda *args: fun(*args), x, scale, shift)
        return y, *pull_back(dy)

    return step, (x, scale, shift, x)


def batch_norm_gradient(draw, dtype):
    """A training step around a batch norm whose statistics are handed out."""
    shape = ((2, 9, 5, int(draw.choice([3, 8, 64]))), (64, int(draw.choice([8, 33]))))[int(draw.integers(2))]
    if not jnp.issubdtype(dtype, jnp.floating):
        return None

    def norm(x, scale, shift):
        y, *statistics = flax_batch_norm(x, scale, shift)
        return y, statistics

    def step(x, scale, shift, dy):
        y, pull_back, statistics = jax.vjp(norm, x, scale, shift, has_aux=True)
        return y, *statistics, *pull_back(dy)

    x, vector = shape_of(*shape, dtype=dtype), shape_of(shape[-1], dtype=jnp.float32)
    return step, (x, vector, vector, x)


KINDS = (
    convolution,
    convolution,
    convolution,
    pooling,
    norm,
    attention,
    attention_gradient,
    norm_gradient,
    batch_norm_gradient,
)


def cases(seed):
    """Regions that the backend proposes, and why it refused some at once, for functions drawn one after another."""
    draw = np.random.default_rng(seed)
    while True:
        kind, dtype = (
            KINDS[int(draw.integers(len(KINDS)))],
            jnp.dtype(DTYPES[int(draw.choice(6, p=(0.3, 0.3, 0.2, 0.1, 0.05, 0.05)))]),
        )
        drawn = kind(draw, dtype)
        if drawn is None:
            continue
        fun, args = drawn
        graph = problem_of(jax.make_jaxpr(fun)(*args), ()).split.each
        found = list(cudnn.BACKEND.propose(graph))
        if found:
            proposal = found[int(draw.integers(len(found)))]
            yield proposal.label, str(dtype), Region.of(graph, proposal.nodes), proposal.refused


def builds(work, gpu):
    """None if cuDNN builds plans of all its graphs, as far as that goes; else what it says."""
    spec = json.loads(work.spec())
    said = [_built(json.dumps(stage), gpu) for stage in spec.get("stages", [spec])]
    return next((reason for reason in said if reason is not None), None)


def _built(spec, gpu):
    try:
        cudnn.library.load().build(spec, gpu.cudnn_properties(), gpu.sm)
    except ValueError as error:
        said = str(error)
        return None if any(words in said for words in NO_DRIVER) else said
    return None


def main(device, count):
    gpu, counts, wrong = known(device), Counter(), []
    with target.aiming_at(gpu):
        assert cudnn.BACKEND.available() is None, cudnn.BACKEND.available()
        for (label, dtype, region, refused), _ in zip(cases(gpu.sm), range(count), strict=False):
            work = cudnn.BACKEND.read(region) if refused is None else refused
            if isinstance(work, Unsupported):
                counts["not expressible"] += 1
                continue
            chosen = cudnn.BACKEND.choice(work)
            refused = isinstance(chosen, Unsupported)
            counts["refused" if refused else "supported"] += 1
            said = [builds(form, gpu) for form in (written(work) if refused else [chosen.work])]
            if refused == (None in said):
                wrong.append(f"{label} {dtype} {region}: backend {chosen if refused else None}, cuDNN {said}")
    sys.stdout.write("\n".join([json.dumps(counts), *wrong]))


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    main(sys.argv[1], int(sys.argv[2]))
