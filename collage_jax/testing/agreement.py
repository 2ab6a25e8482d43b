"""A kernel against XLA, on every kind of input: shapes, dtypes, numbers, NaN and infinities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..graph.region import Region
from ..measure.bounds import magnitudes
from ..measure.compare import other_form, tolerance
from ..measure.conditioning import worst
from .data import inputs
from .findings import said
from .kernels import Kernel, bits, run


@dataclass(frozen=True)
class Difference:
    """A rule that results break in comparison with XLA's, what they are instead, and a remedy."""

    rule: str
    got: str
    remedy: str


def difference(region: Region, kernel: Kernel, reference: Kernel) -> Difference | None:
    """The first rule that ``kernel`` breaks, run beside XLA's ``reference``; None if it does as XLA does."""
    for name, arrays in inputs(region.entries):
        wanted, before = run(reference, arrays), bits(arrays)
        try:
            got = run(kernel, arrays)
        except Exception as error:
            remedy = "what arrays hold must not make a kernel fail"
            return Difference("a kernel must run on whatever arrays hold", f"{said(error)} on {name}", remedy)
        if bits(arrays) != before:
            remedy = "let a kernel write into its results alone"
            return Difference("a kernel must leave its operands as they are", f"other numbers in {name}", remedy)
        found = compared(region, got, wanted, partial(run, reference), arrays, name)
        if found is not None:
            return found
    return None


def compared(
    region: Region,
    got: Sequence[Any],
    wanted: Sequence[Any],
    reference: Callable[[Sequence[Any]], Sequence[Any]],
    arrays: Sequence[Any],
    name: str,
) -> Difference | None:
    """The first rule that ``got`` breaks, where XLA's ``reference`` gives ``wanted``, both on ``arrays``."""
    form = other_form(got, wanted)
    if form is not None:
        remedy = "return `region.exits` in their order, with their shapes and dtypes"
        return Difference("results must have the shapes and dtypes of XLA's", f"a kernel that {form}", remedy)
    error, most = worst(tolerance(region), got, wanted, reference, arrays, partial(magnitudes, region, arrays))
    if error <= most:
        return None
    if error == float("inf") and "in operand" in name:
        remedy = "let NaN and infinities pass, or refuse the region in `supports`"
        return Difference("NaN and infinities must stand where XLA has them", f"others for {name}", remedy)
    remedy = "correct the kernel, compute in more digits, or refuse the region in `supports`"
    got_error = f"{error:.2e} of the largest on {name}, {most:.2e} allowed"
    return Difference("results must be XLA's within the tolerance", got_error, remedy)
