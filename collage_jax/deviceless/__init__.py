"""Programs placed, lowered and compiled for a GPU that is not here."""

from .lowering import LoweredFor as LoweredFor
from .lowering import lower_for as lower_for
