"""A backend in fifteen lines: the largest value of each window, one dimension at a time.

    python examples/custom_backend.py

XLA looks at every value of a window: 15 x 15 of them for each pixel. The largest of a row's largest ones is the same
value and takes 15 + 15. `collage_jax.jit` compares the backend with XLA, times it, and uses it where it is faster.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from interleave import interleaved, quartiles
from jax import lax

import collage_jax
from collage_jax import Backend, register_backend
from collage_jax.patterns import Pattern, any_, max_pool

WINDOW = 15


class Separable(Backend):
    """Windowed maxima along one dimension after another."""

    name = "separable"
    patterns = [Pattern("max of windows", max_pool(any_("x")))]  # noqa: RUF012

    def emit(self, region):
        pool = region.nodes[0].params
        options = [pool[k] for k in ("window_dimensions", "window_strides", "padding")]
        defaults, gaps = (1, 1, (0, 0)), pool["window_dilation"]

        def along(x, d):
            chosen = [[v if a == d else rest for a, v in enumerate(o)] for o, rest in zip(options, defaults, strict=True)]
            return lax.reduce_window(x, -jnp.inf, lax.max, *chosen, window_dilation=[gaps[d]] * x.ndim)

        return lambda x: functools.reduce(along, range(x.ndim), x)


def peaks(heat: jax.Array) -> jax.Array:
    """What is left of a heat map `[n, h, w, c]` where it is the largest value around: how detectors find objects."""
    window = (1, WINDOW, WINDOW, 1)
    largest = lax.reduce_window(heat, -jnp.inf, lax.max, window, (1, 1, 1, 1), "SAME")
    return jnp.where(heat == largest, heat, 0.0)


def main() -> None:
    """Registers the backend, prints what was considered, and how much faster the function has become."""
    register_backend(Separable())
    heat = jnp.asarray(np.random.default_rng(0).standard_normal((1, 96, 96, 32)), jnp.float32)
    plain, placed = jax.jit(peaks), collage_jax.jit(peaks)
    print(placed.explain(heat))
    assert jnp.array_equal(plain(heat), placed(heat))
    plain_s, placed_s = interleaved((lambda: plain(heat), lambda: placed(heat)), rounds=15, seconds=10)
    low, ratio, high = quartiles(plain_s / placed_s)
    print(f"jax.jit {np.median(plain_s) * 1e3:.2f} ms, collage_jax.jit {np.median(placed_s) * 1e3:.2f} ms: ", end="")
    print(f"{ratio:.1f}x ({low:.1f}-{high:.1f} in the middle half of the rounds)")
    print("backends used:", placed.placement(heat).counts())


if __name__ == "__main__":
    main()
