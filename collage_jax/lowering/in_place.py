"""Arrays that are joined, written into their places by the kernels that make them: nothing is left to copy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Hashable, Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from ..ffi import native
from ..ffi.native_call import NativeCall, NativeOperand
from ..ffi.program import Part, Step, can_hold

#: The kernel that brings those operands into their places that are made elsewhere.
TARGET, STEP = "collage_concat_v1", "_kernels.concat"

#: A kernel that knows nothing of rows may write to a multiple of so many bytes, where XLA's arrays start too.
ALIGNMENT = 64


def written_in_place(steps: Sequence[Step], read_outside: Container[Hashable]) -> list[Step]:
    """``steps`` without the joining of arrays, as far as the makers of these can write them where they belong.

    Such a maker is one of ``steps``, and nothing but the joining reads what it makes; ``read_outside`` are the keys of
    what is read after the last step.
    """
    reads = Counter(key for step in steps for key in step.operands)
    maker = {step.result: step for step in steps if reads[step.result] == 1 and step.result not in read_outside}
    replaced: dict[Step, Step | None] = {}
    for step in filter(lambda step: step.call.joins, steps):
        places = list(accumulate(step.call.joins, initial=0))
        moved: dict[Step, Step | None] = {}
        left: list[int] = []
        for i, key in enumerate(step.operands):
            writer = maker.get(key)
            there = None if writer is None or writer in replaced else _writing(writer, step, places[i], i)
            if writer is None or there is None:
                left.append(i)
            else:
                moved[writer] = there
        rest = _rest(step, places, left) if left else None
        if moved and (rest is not None or not left):
            replaced |= moved | {step: rest}
    return [new for new in (replaced.get(step, step) for step in steps) if new is not None]


def _writing(writer: Step, joining: Step, place: int, operand: int) -> Step | None:
    """``writer`` made to write that operand of ``joining``, ``place`` elements into each row; None if it cannot."""
    call, row = writer.call, sum(joining.call.joins)
    offset = place * call.result.dtype.itemsize
    part = Part(joining.result, joining.call.result, offset)
    if joining.call.result.size == row:  # one row, so that the operand lies in one piece
        return replace(writer, part=part) if offset % ALIGNMENT == 0 and not call.joins else None
    if call.row != joining.call.joins[operand]:
        return None
    return replace(writer, call=call.with_rows(row), part=part)


def _rest(joining: Step, places: Sequence[int], left: Sequence[int]) -> Step | None:
    """The step that brings the operands ``left`` into their places; None if there is no kernel for it."""
    call, row = joining.call, sum(joining.call.joins)
    if call.result.dtype != np.float32:
        return None
    try:
        version = native.extension(STEP).version()
    except ImportError:
        return None
    columns, offsets = ("x".join(str(numbers[i]) for i in left) for numbers in (call.joins, places))
    rows = call.result.size // row
    spec = f"op=place rows={rows} row={row} parts={len(left)} columns={columns} offsets={offsets}"
    operands = tuple(NativeOperand((i,)) for i in range(len(left)))
    placing = NativeCall(TARGET, spec, version, operands, call.result, STEP)
    if not can_hold(placing):
        return None
    part = Part(joining.result, call.result, 0)
    return replace(joining, call=placing, operands=tuple(joining.operands[i] for i in left), part=part)
