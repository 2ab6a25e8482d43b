"""A placement from elsewhere, checked on this machine before it is used."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..backends import registry
from ..candidates import XLA, candidate_of
from ..lowering.build import lower
from ..measure import regions
from ..measure.reference import of_program
from ..measure.whole import Trials
from ..placement import Placement
from ..problem import Problem
from .pricing import keys_by
from .replay import plan_of
from .stages import Barred, Settings, environment


def kept_for(program: str, folder: str | os.PathLike[str] | None) -> Placement | None:
    """The placement that ``folder`` holds for the program with that hash, under its name; None for none.

    Raises ``ValueError`` if there is no such folder, or the file is damaged.
    """
    if folder is None:
        return None
    if not os.path.isdir(folder):
        raise ValueError(
            f"`placements` must be a folder with files that Placement.save wrote, got {os.fspath(folder)!r}, which is "
            "none; make it, or unset COLLAGE_JAX_PLACEMENTS"
        )
    path = os.path.join(folder, f"{program}.json")
    return Placement.load(path) if os.path.exists(path) else None


def check(
    pinned: Placement,
    problem: Problem,
    arguments: Sequence[Any],
    reference: Callable[[], Any],
    settings: Settings,
    barred: Barred | None = None,
) -> Placement:
    """``pinned`` as far as it holds here: kernels that fail or differ from XLA stay with XLA.

    So does all of the program if the whole differs from ``reference()``.

    ``arguments`` are arrays for all inputs of the program. Nothing is timed.
    """
    barred = barred or Barred()
    usable, _ = registry.usable(settings.backends, settings.switches)
    backends = registry.with_reference(b for b in usable if b.name not in barred.backends)
    plan, notes = plan_of(pinned, problem, backends)
    kept = problem.split.kept
    groups = {}
    for part, region, name in plan.everything():
        frozen = kept if part.graph is problem.split.each else ()
        pair = {n: candidate_of(region, n, frozen) for n in (XLA, name)}
        groups.setdefault((pair[name].key, name), pair)
    failed: dict[tuple[str, str], str] = {}
    for candidate, why in regions.wrong(groups.values(), backends, keys_by(backends)):
        failed[candidate.key, candidate.backend] = why.reason
        notes += (f"{'+'.join(candidate.region.ops)} stays with XLA: {candidate.backend}, {why.stage}: {why.reason}",)
    rows = tuple(r for r in pinned.regions if (r.key, r.backend) not in failed)
    left = replace(pinned, regions=rows, notes=(*pinned.notes, "Pinned, and checked here.", *notes))
    plan, _ = plan_of(left, problem, backends)
    arrays = problem.divided(arguments)
    compared = of_program(problem.split, *arrays, reference)
    trials = Trials(*arrays, compared, settings.tolerance)
    name = "pinned"
    right = plan.is_plain or (
        name not in barred.programs and trials.enter(name, partial(lower, plan, problem.split, backends))
    )
    if not right:
        why = barred.programs.get(name, "; ".join(trials.notes))
        left = replace(left, regions=(), notes=(*left.notes, f"XLA alone is used: {why}"))
    return replace(left, measured_us=None, xla_us=None, environment=environment(backends), is_final=False, budget_s=0.0)
