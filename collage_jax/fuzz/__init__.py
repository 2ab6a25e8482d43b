"""Random JAX programs through ``collage_jax.jit`` and ``jax.jit``: the command ``collage-jax fuzz``.

Kernels are placed by drawn costs (``costs``), so that they run wherever a backend takes a region and nothing is timed;
all else is what a user's call goes through. A program is text (``program``), so that one that fails can be cut down
(``shrinking``) and read.
"""
