"""Three ways to have kernels of your own for NVIDIA GPUs: CUDA C++, Pallas, Triton.

    python examples/gpu_kernels.py [sm_75|sm_80|sm_90]

On a GPU it tunes and runs a function with them. Without one it places the function for the architecture given, compiles
it if XLA's compiler for CUDA is installed, and prints the custom calls; nothing runs then. None of the three kernels
has run on a GPU yet. CUDA C++ takes NVRTC (`pip install nvidia-cuda-nvrtc`, which JAX's plugin for CUDA brings), Triton
`pip install jax-triton triton`.
"""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as pallas_triton  # without it Pallas finds no GPU to compile for

import collage_jax
from collage_jax import Backend, Unsupported, target
from collage_jax.patterns import Match, Pattern, any_, layer_norm, rms_norm, softmax

jax_triton: Any = None
triton: Any = None
tl: Any = None
try:
    import jax_triton  # pyright: ignore[reportMissingImports]
    import triton  # pyright: ignore[reportMissingImports]
    import triton.language as tl  # pyright: ignore[reportMissingImports]
except ImportError as error:
    NO_TRITON = f"{error}: pip install jax-triton triton"
else:
    NO_TRITON = None

EPSILON = 1e-5

ROW_SOFTMAX = r"""
extern "C" __global__ void row_softmax(const float* __restrict__ x, float* __restrict__ y, int columns) {
  // A warp for each row.
  const long long row = static_cast<long long>(blockIdx.x) * columns;
  float largest = x[row], sum = 0;
  for (int i = threadIdx.x; i < columns; i += 32) largest = fmaxf(largest, x[row + i]);
  for (int mask = 16; mask > 0; mask /= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, mask));
  for (int i = threadIdx.x; i < columns; i += 32) sum += expf(x[row + i] - largest);
  for (int mask = 16; mask > 0; mask /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, mask);
  for (int i = threadIdx.x; i < columns; i += 32) y[row + i] = expf(x[row + i] - largest) / sum;
}
"""


def is_matrix(match: Match) -> bool:
    """A float32 matrix with something in it."""
    return match["x"].ndim == 2 and match["x"].dtype == np.float32 and match["x"].size > 0


def register_cuda() -> None:
    """Softmax of rows in CUDA C++: the parameters are the captured arrays, the result, then the scalars."""
    collage_jax.cuda_kernel(
        softmax(any_("x"), axis=1),
        source=ROW_SOFTMAX,
        name="row_softmax",
        grid=lambda match: match["x"].shape[0],
        block=32,
        scalars=lambda match: [np.int32(match["x"].shape[1])],
        where=is_matrix,
    )


def normalised(x: jax.Array, scale: jax.Array, shift: jax.Array, epsilon: float, interpret: bool = False) -> jax.Array:
    """Layer norm of [rows, columns], a row for each program of a Pallas kernel.

    ``columns`` is a power of two, as Triton wants it; ``interpret`` runs it anywhere, to be checked.
    """

    def kernel(x_ref: Any, scale_ref: Any, shift_ref: Any, out_ref: Any) -> None:
        centred = x_ref[...] - jnp.mean(x_ref[...], axis=1, keepdims=True)
        deviation = jax.lax.rsqrt(jnp.mean(centred * centred, axis=1, keepdims=True) + epsilon)
        out_ref[...] = centred * deviation * scale_ref[...] + shift_ref[...]

    rows, columns = x.shape
    row, vector = pl.BlockSpec((1, columns), lambda i: (i, 0)), pl.BlockSpec((columns,), lambda i: (0,))
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    params = None if interpret else pallas_triton.CompilerParams(num_warps=4)
    call = pl.pallas_call(
        kernel,
        shape,
        grid=(rows,),
        in_specs=[row, vector, vector],
        out_specs=row,
        interpret=interpret,
        compiler_params=params,
    )
    return call(x, scale, shift)


class PallasNorm(Backend):
    """Layer norm of rows by Pallas, whose kernels XLA compiles with Triton: for compute capability 8.0 and newer."""

    name, platforms = "pallas_norm", ("gpu",)
    patterns = (Pattern("layer_norm", layer_norm(any_("x"), any_("scale"), any_("shift")), where=is_matrix),)

    def supports(self, region: Any) -> Unsupported | None:
        (node,) = region.nodes
        columns = node.inputs[0].shape[-1]
        if node.op != "layer_norm" or node.params["axis"] != 1 or node.params["unbiased"]:
            return Unsupported("layer norm of rows is meant")
        if node.params["epsilon_outside"] or any(v.ndim != 1 for v in node.inputs[1:]):
            return Unsupported("epsilon belongs to the variance, and scale and shift are vectors")
        return None if columns & (columns - 1) == 0 else Unsupported(f"Triton wants a power of two, got {columns}")

    def emit(self, region: Any) -> Any:
        epsilon = region.nodes[0].params["epsilon"]
        return lambda x, scale, shift: normalised(x, scale, shift, epsilon)


def triton_rms_norm(x, out, columns: tl.constexpr, epsilon: tl.constexpr):  # pyright: ignore[reportInvalidTypeForm]
    # In Triton's own language: each program has a row.
    at = tl.program_id(0) * columns + tl.arange(0, columns)
    row = tl.load(x + at)
    tl.store(out + at, row * tl.rsqrt(tl.sum(row * row, axis=0) / columns + epsilon))


class TritonNorm(Backend):
    """RMS norm of rows without a scale by jax-triton."""

    name, platforms = "triton_norm", ("gpu",)
    patterns = (Pattern("rms_norm", rms_norm(any_("x"), axis=1, scale=False), where=is_matrix),)

    def available(self) -> Unsupported | None:
        return None if NO_TRITON is None else Unsupported(NO_TRITON)

    def supports(self, region: Any) -> Unsupported | None:
        columns = region.nodes[0].inputs[0].shape[-1]
        if region.ops != ("rms_norm",) or len(region.nodes[0].inputs) != 1:
            return Unsupported("RMS norm of rows without a scale is meant")
        return None if columns & (columns - 1) == 0 else Unsupported(f"Triton wants a power of two, got {columns}")

    def emit(self, region: Any) -> Any:
        gpu, epsilon = target.current().gpu, region.nodes[0].params["epsilon"]

        def run(x: jax.Array) -> jax.Array:
            return jax_triton.triton_call(
                x,
                kernel=triton.jit(triton_rms_norm),
                out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype),
                grid=x.shape[0],
                columns=x.shape[1],
                epsilon=epsilon,
                compute_capability=None if gpu is None else gpu.sm,
            )

        return run


def plain_layer_norm(x: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
    """Layer norm of rows as JAX has it."""
    centred = x - jnp.mean(x, axis=1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred * centred, axis=1, keepdims=True) + EPSILON) * scale + shift


def layer(x: jax.Array, w: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
    """A product after each of two norms, and a softmax."""
    y = plain_layer_norm(x, scale, shift) @ w
    return jax.nn.softmax((y * jax.lax.rsqrt(jnp.mean(y * y, axis=1, keepdims=True) + EPSILON)) @ w, axis=1)


def main(device: str) -> None:
    """Registers the three, and shows what becomes of ``layer``."""
    register_cuda()
    collage_jax.register_backend(PallasNorm())
    collage_jax.register_backend(TritonNorm())
    backends = ["cuda", PallasNorm.name, TritonNorm.name]
    if NO_TRITON is not None:
        print(f"jax-triton is left out: {NO_TRITON}")
    x, w = jnp.linspace(-1, 1, 512 * 256, dtype=jnp.float32).reshape(512, 256), jnp.full((256, 256), 0.01)
    arguments = x, w, jnp.ones(256), jnp.zeros(256)
    if jax.default_backend() == "gpu":
        decorated = collage_jax.jit(layer, backends=backends)
        error = jnp.abs(decorated(*arguments) - jax.jit(layer)(*arguments)).max()
        print(decorated.explain(*arguments))
        print(f"largest difference from jax.jit {error:.1e}")
        return
    lowered = collage_jax.lower_for(layer, *arguments, device=device, backends=backends)
    print(lowered.placement)
    print(f"custom calls in the {lowered.stage} for {device}:")
    for name, count in lowered.custom_calls().items():
        print(f"  {count} x {name}")


if __name__ == "__main__":
    main(*(sys.argv[1:2] or ["sm_90"]))
