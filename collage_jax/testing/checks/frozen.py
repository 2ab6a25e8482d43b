"""Kernels with frozen operands compute what those without do."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import jax

from ...backends.base import PreparedKernel
from ...graph.ir import Value, is_array_dtype
from ..agreement import compared
from ..data import inputs
from ..findings import Violation, said
from ..kernels import compiled, forms, run
from ..samples import Sample
from ..subject import Subject

violation = partial(Violation, "frozen")

#: Entries of which every set is frozen; of more, each alone, all but each, all, and some at random.
FEW = 3
RANDOM = 3


def check_frozen(subject: Subject) -> Iterator[Violation]:
    """``emit_frozen`` for sets of entries of regions whose kernel from ``emit`` is right."""
    subject.require_usable()
    for sample in subject.right[: subject.effort.sampled]:
        for frozen in _sets(sample.region.entries):
            found = next(_with(subject, sample, frozen), None)
            if found is not None:
                yield found
                break


def _sets(entries: Sequence[Value]) -> list[frozenset[Value]]:
    """The sets of ``entries`` to freeze, in a fixed order."""
    arrays = [v for v in entries if is_array_dtype(v.dtype)]
    if len(arrays) <= FEW:
        return [frozenset(c) for n in range(1, len(arrays) + 1) for c in combinations(arrays, n)]
    rng = random.Random(0)
    chosen = [frozenset((v,)) for v in arrays[:FEW]]
    chosen += [frozenset(arrays) - {v} for v in arrays[:FEW]]
    chosen += [frozenset(rng.sample(arrays, rng.randrange(2, len(arrays)))) for _ in range(RANDOM)]
    return list(dict.fromkeys([*chosen, frozenset(arrays)]))


def _with(subject: Subject, sample: Sample, frozen: frozenset[Value]) -> Iterator[Violation]:
    entries = sample.region.entries
    where = f"{sample}, entries {', '.join(str(i) for i, v in enumerate(entries) if v in frozen)} frozen"
    try:
        kernel = subject.backend.emit_frozen(sample.region, frozen)
    except Exception as error:
        yield violation("`emit_frozen` must not raise for what is supported", said(error), "return None", where)
        return
    if kernel is None:
        return
    if not isinstance(kernel, PreparedKernel):
        remedy = "write PreparedKernel(prepare, run)"
        yield violation("`emit_frozen` must return None or a PreparedKernel", repr(kernel), remedy, where)
        return
    held = [v for v in entries if v in frozen]
    try:
        made = jax.eval_shape(kernel.prepare, *forms(held))
        if not isinstance(made, (tuple, list)) or not all(isinstance(a, jax.ShapeDtypeStruct) for a in made):
            remedy = "return a flat tuple of arrays"
            yield violation("`prepare` must make arrays", str(made), remedy, where)
            return
        prepare = compiled(kernel.prepare, forms(held))
        run_ = compiled(kernel.run, [*made, *forms([v for v in entries if v not in frozen])])
        yield from _compared(subject, sample, frozen, (prepare, run_), where)
    except Exception as error:
        yield violation("a prepared kernel must be compiled and run", said(error), "return None, or correct it", where)


def _compared(
    subject: Subject, sample: Sample, frozen: frozenset[Value], kernels: Sequence[Any], where: str
) -> Iterator[Violation]:
    reference = subject.reference(sample)
    assert reference is not None, sample
    prepare, run_ = kernels
    entries = sample.region.entries
    for name, arrays in inputs(entries):
        pairs = list(zip(entries, arrays, strict=True))
        prepared = run(prepare, [a for v, a in pairs if v in frozen])
        got = run(run_, [*prepared, *(a for v, a in pairs if v not in frozen)])
        wanted = run(reference, arrays)
        found = compared(sample.region, got, wanted, partial(run, reference), arrays, name)
        if found is not None:
            yield violation(f"with frozen operands {found.rule}", found.got, found.remedy, where)
            return
