"""``jax.export`` of a function with the backend's kernels keeps the original, which runs anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import jax
import jax.export

from ...measure.compare import largest_error
from ..findings import Violation, said
from ..placed import known, placed_programs
from ..subject import Subject

violation = partial(Violation, "export")


def check_export(subject: Subject) -> Iterator[Violation]:
    """Exported, read back and called."""
    subject.require_usable()
    with known(subject.backend):
        for placed in placed_programs(subject):
            where = placed.program.case.name
            try:
                # Known before it is exported, so that it is the placed program that falls back.
                if placed.left_to_xla:
                    continue
                wanted = _result(jax.jit(placed.program.case.fun), placed.args)
            except Exception:  # jax.jit cannot export it either; what cannot be placed is reported by another check
                continue
            rule = "a placed function must be exported as jax.jit's is"
            remedy = "let `emit` have no effect besides what it returns"
            try:
                got = _result(placed.function, placed.args)
            except Exception as error:
                yield violation(rule, said(error), remedy, where)
                continue
            error = largest_error(jax.tree.leaves(got), jax.tree.leaves(wanted))
            if not error <= placed.allowed(wanted):
                yield violation(rule, f"results {error:.1e} of the largest apart", remedy, where)


def _result(fun: Any, args: tuple[Any, ...]) -> Any:
    """What ``fun`` gives after its export; as bytes in between, where what writes them is installed."""
    exported = jax.export.export(fun)(*args)
    if find_spec("flatbuffers") is not None:
        exported = jax.export.deserialize(exported.serialize())
    return jax.block_until_ready(exported.call(*args))
