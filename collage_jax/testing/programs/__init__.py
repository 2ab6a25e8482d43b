"""Programs that every backend is tried on, whether it takes any of them or not."""

from __future__ import annotations

from ..case import Case
from . import arrays, control, convolutions, elementwise, networks, products


def standard() -> tuple[Case, ...]:
    """Every standard program, with shapes for its arguments."""
    modules = products, convolutions, elementwise, networks, arrays, control
    return tuple(each for module in modules for each in module.cases())
