"""The extension with the kernels."""

from __future__ import annotations

from types import ModuleType

from .. import own_kernels
from ..base import Unsupported

TARGET = "collage_grouped_v1"

#: The extension, whose kernels can be steps of a program.
STEP = "_grouped"


def load() -> ModuleType | Unsupported:
    """The extension, or the reason why it cannot be used."""
    return own_kernels.load(STEP)
