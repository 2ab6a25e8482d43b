"""Arguments drawn by hypothesis, which is needed for this alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

#: The largest size drawn for a dimension: past the tiles of most kernels, and quick.
LARGEST = 70


def arguments(*shapes: str, dtypes: Sequence[Any] = ("float32",), smallest: int = 1, largest: int = LARGEST) -> Any:
    """A hypothesis strategy for a tuple of ``jax.ShapeDtypeStruct``, one for each of ``shapes``.

    A shape is written as sizes and names, such as ``"m k"`` or ``"n 8 8 c"``; a name is one size, from ``smallest`` to
    ``largest``, wherever it stands. All have one dtype, drawn from ``dtypes``. ``ImportError`` without hypothesis.
    """
    for shape in shapes:
        if not isinstance(shape, str):
            raise TypeError(f"a shape must be a text of sizes and names, got {shape!r}; write 'm k' or '3 k'")
    st = _hypothesis().strategies
    names = sorted({part for shape in shapes for part in shape.split() if not part.isdecimal()})
    for name in names:
        if not name.isidentifier():
            raise ValueError(f"a shape must hold sizes and names, got {name!r} in {shapes}; write 'm k' or '3 k'")

    def build(sizes: dict[str, int], dtype: Any) -> tuple[jax.ShapeDtypeStruct, ...]:
        return tuple(
            jax.ShapeDtypeStruct([int(p) if p.isdecimal() else sizes[p] for p in shape.split()], jax.numpy.dtype(dtype))
            for shape in shapes
        )

    return st.builds(
        build, st.fixed_dictionaries({n: st.integers(smallest, largest) for n in names}), st.sampled_from(list(dtypes))
    )


def tuples(*args: Any) -> Any:
    """A strategy for tuples of ``args``, those that are no strategies as they are."""
    st = _hypothesis().strategies
    return st.tuples(*(a if isinstance(a, st.SearchStrategy) else st.just(a) for a in args))


def drawn(strategy: Any, count: int) -> list[Any]:
    """``count`` examples of ``strategy``, the same each time."""
    hypothesis = _hypothesis()
    found: list[Any] = []

    @hypothesis.settings(
        max_examples=count,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


def _hypothesis() -> Any:
    try:
        import hypothesis
        import hypothesis.strategies
    except ImportError as error:
        raise ImportError(
            "arguments are drawn by hypothesis, which is not installed; pip install 'collage-jax[test]', or give arrays"
            " or jax.ShapeDtypeStruct"
        ) from error
    return hypothesis
