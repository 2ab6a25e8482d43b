"""A backend for collage_jax: running sums and extremes (`jnp.cumsum`, `lax.cummax`, `lax.cummin`) on CPUs."""

from .backend import Cumulative as Cumulative

__version__ = "0.1.0"
