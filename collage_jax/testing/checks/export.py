"""``jax.export`` of a function with the backend's kernels keeps the original, which runs anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
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
            plain: Any = jax.jit(placed.program.case.fun)
            try:
                # Known before it is exported, so that it is the placed program that falls back.
                if placed.left_to_xla:
                    continue
                wanted = jax.export.deserialize(jax.export.export(plain)(*placed.args).serialize()).call(*placed.args)
            except Exception:  # jax.jit cannot export it either; what cannot be placed is reported by another check
                continue
            rule = "a function must be exported as jax.jit is"
            remedy = "let `emit` have no effect besides what it returns"
            try:
                exported = jax.export.export(placed.function)(*placed.args).serialize()
                got = jax.export.deserialize(exported).call(*placed.args)
            except Exception as error:
                yield violation(rule, said(error), remedy, placed.program.case.name)
                continue
            error = largest_error(jax.tree.leaves(got), jax.tree.leaves(wanted))
            if not error <= placed.allowed(wanted):
                got_error = f"results {error:.1e} of the largest apart"
                yield violation(rule, got_error, remedy, placed.program.case.name)
