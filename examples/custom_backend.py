"""A backend in fifteen lines: running sums by a loop.

    python examples/custom_backend.py

JAX makes a running sum of a tree of slices and additions, each of which goes over the array again; a loop goes over it
once. `collage_jax.jit` compares what the backend emits with XLA, times both, and uses the faster one. The same as a
package of its own, with refusals, more operations and tests: `examples/custom_backend/`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from interleave import interleaved, quartiles
from jax import lax

import collage_jax
from collage_jax import Backend
from collage_jax.patterns import Pattern, any_, op


class Running(Backend):
    name = "running"
    patterns = (Pattern("cumsum", op("cumsum")(any_("x")), where=lambda match: match["x"].dtype == jnp.float32),)

    def emit(self, region):
        axis, reverse = (region.nodes[0].params[key] for key in ("axis", "reverse"))

        def step(total, row):
            return total + row, total + row

        def run(x):
            rows = jnp.moveaxis(x, axis, 0)
            _, sums = lax.scan(step, jnp.zeros_like(rows[0]), rows, reverse=reverse)
            return jnp.moveaxis(sums, 0, axis)

        return run


def integral_image(image: jax.Array) -> jax.Array:
    """Sums of all that is above and left of each pixel of `[height, width, channels]`: four of them make any box's."""
    return jnp.cumsum(jnp.cumsum(jnp.square(image), 0), 1)


def main() -> None:
    """Registers the backend, prints what was considered, and how much faster the function has become."""
    collage_jax.register_backend(Running())
    image = jnp.asarray(np.random.default_rng(0).standard_normal((256, 256, 32)), jnp.float32)
    plain, placed = jax.jit(integral_image), collage_jax.jit(integral_image)
    print(placed.explain(image))
    expected, got = plain(image), placed(image)
    error = jnp.abs(got - expected).max() / jnp.abs(expected).max()
    plain_s, placed_s = interleaved((lambda: plain(image), lambda: placed(image)), rounds=25, seconds=10)
    low, ratio, high = quartiles(plain_s / placed_s)
    print(f"jax.jit {np.median(plain_s) * 1e3:.1f} ms, collage_jax.jit {np.median(placed_s) * 1e3:.1f} ms", end="; ")
    print(f"{ratio:.2f}x, {low:.2f}-{high:.2f} in the middle half of the rounds; error {error:.0e}")
    print(f"regions by backend: {placed.placement(image).counts()}")


if __name__ == "__main__":
    main()
