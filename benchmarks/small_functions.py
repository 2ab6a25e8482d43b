"""Fifteen small functions in which no backend can gain anything: each costs roughly 10 to 500 us a call."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def elementwise(x, y):
    """A chain that XLA fuses into one loop."""
    return jnp.tanh(x) * jnp.exp(-jnp.square(y)) + jnp.maximum(x, y) / (1 + jnp.abs(x))


def tiny_matmul(x, w):
    """A product too small for any library's call to pay."""
    return x @ w


def moments(x):
    """Two reductions over rows."""
    return jnp.mean(x, axis=1), jnp.var(x, axis=1)


def sort(x):
    """Row-wise sort."""
    return jnp.sort(x, axis=-1)


def fft(x):
    """Power spectrum of each row."""
    return jnp.square(jnp.abs(jnp.fft.rfft(x)))


def cumulative(x):
    """Running sum and running maximum of each row."""
    return jnp.cumsum(x, axis=1), lax.cummax(x, axis=1)


def gather_scatter(x, source, target):
    """Adds some rows to others."""
    return x.at[target].add(x[source])


def scan_cell(h, xs, w):
    """A recurrent cell of eight units."""

    def step(h, x):
        h = jnp.tanh(w @ h + x)
        return h, h

    return lax.scan(step, h, xs)


def branch(flag, x):
    """A condition known only when it runs."""
    return lax.cond(flag, lambda x: jnp.sin(x).sum(), lambda x: jnp.cos(x).max(), x)


def int8_arithmetic(x, y):
    """Saturating average of 8-bit integers."""
    total = x.astype(jnp.int16) + y.astype(jnp.int16)
    return jnp.clip((total + 1) >> 1, -100, 100).astype(jnp.int8)


def complex64(z):
    """One Mandelbrot-like step, and its size."""
    z = z * z + jnp.exp(1j * jnp.angle(z))
    return z, jnp.abs(z)


def float64(x):
    """A polynomial and a sum in double precision."""
    return jnp.polyval(jnp.array([0.5, -1.0, 2.0, -3.0, 1.0]), x), jnp.sum(x * x)


def top(x):
    """Largest element and largest eight of each row."""
    return jnp.argmax(x, axis=1), lax.top_k(x, 8)


def shuffle(x, y):
    """Transposes, a concatenation and slices."""
    both = jnp.concatenate([x.transpose(0, 2, 1), y.transpose(0, 2, 1)], axis=-1)
    return both[:, ::2].swapaxes(0, 1), jnp.flip(both, axis=-1)


def random_bits(key):
    """Uniform numbers and bits from a key."""
    first, second = jax.random.split(key)
    return jax.random.uniform(first, (4096,)), jax.random.bits(second, (4096,))


def cases() -> list[tuple[Callable, tuple]]:
    """Each function with its arguments. Call it with 64-bit types enabled, so that `float64` gets what it names."""
    rng = np.random.default_rng(0)

    def normal(*shape, dtype=np.float32):
        return jnp.asarray(rng.standard_normal(shape).astype(dtype))

    def integers(bound, *shape, dtype=np.int32):
        return jnp.asarray(rng.integers(0, bound, shape, dtype))

    return [
        (elementwise, (normal(128, 256), normal(128, 256))),
        (tiny_matmul, (normal(16, 16), normal(16, 16))),
        (moments, (normal(256, 512),)),
        (sort, (normal(8, 512),)),
        (fft, (normal(32, 512),)),
        (cumulative, (normal(32, 256),)),
        (gather_scatter, (normal(1024, 32), integers(1024, 256), integers(1024, 256))),
        (scan_cell, (normal(8), normal(64, 8), normal(8, 8))),
        (branch, (jnp.array(True), normal(8192))),
        (int8_arithmetic, (integers(100, 256, 256, dtype=np.int8), integers(100, 256, 256, dtype=np.int8))),
        (complex64, (normal(4096, dtype=np.complex64),)),
        (float64, (normal(32768, dtype=np.float64),)),
        (top, (normal(16, 512),)),
        (shuffle, (normal(16, 64, 32), normal(16, 64, 32))),
        (random_bits, (jax.random.key(0),)),
    ]
