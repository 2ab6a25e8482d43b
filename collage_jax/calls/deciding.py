"""Which program serves a signature: one decided before, or one tuned now; then built in this process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from .. import _compat, watch
from ..backends import registry
from ..backends.base import Backend
from ..candidates import XLA, is_wanted
from ..config import config
from ..costs import Failed
from ..database import cache_directory, tuning_lock
from ..log import LOG
from ..lowering.build import Lowered, lower
from ..placement import Placement
from ..problem import Problem, problem_of
from ..report.files import from_json, to_json
from ..store import store
from ..switches import in_force
from ..tuning.pinning import check, kept_for
from ..tuning.pricing import keys_by
from ..tuning.replay import Mismatch, plan_of
from ..tuning.stages import Settings, environment, tune
from ..worker.client import Client, NoWorker
from ..worker.jobs import Job
from . import processes
from .progress import shown

#: Platforms whose devices two processes can use at once.
SHARED = ("cpu", "gpu")

#: The worker of this process.
WORKER = Client()
#: What tuning took and measured now, where it is spared.
UNMEASURED: dict[str, Any] = {"tuning_s": 0.0, "distinct_measured": 0}


@dataclass(frozen=True, eq=False)
class Tuned:
    """The decision for one signature. ``lowered`` is None where plain ``jax.jit`` is used.

    ``fallen`` says what stays with XLA although it was decided, or asked for, otherwise.
    """

    placement: Placement
    lowered: Lowered | None
    fallen: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Call:
    """One call of the function, as tuning needs it.

    ``program`` is its closed jaxpr, ``arguments`` are arrays for all its inputs, those numbered ``frozen`` stay the
    same; ``reference()`` runs the undecorated function on them through ``jax.jit``; ``name`` is the function's.
    """

    program: Any
    frozen: tuple[int, ...]
    arguments: Sequence[Any]
    reference: Callable[[], Any]
    name: str


def decide(call: Call, settings: Settings, pinned: Placement | None = None) -> Tuned:
    """The program for ``call``: what ``pinned`` says, else what was decided before, else what tuning finds.

    As far as the switches in force allow. Raises ``replay.Mismatch`` if ``pinned`` was made for another program.
    """
    tuned = _decide(call, settings.now, pinned)
    _say(call.name, tuned)
    return tuned


def _decide(call: Call, settings: Settings, pinned: Placement | None) -> Tuned:
    is_again = settings.tune == "again"
    settings = replace(settings, tune="two-level") if is_again else settings
    allowed, unavailable = registry.usable(settings.backends, settings.switches)
    backends = registry.with_reference(allowed)
    problem = problem_of(call.program, call.frozen)
    if pinned is None:
        pinned = kept_for(problem.key, config.placements)
    if settings.switches.deterministic:
        return _deterministic(pinned, settings, problem, backends, unavailable)
    if pinned is not None:
        return _as_pinned(pinned.left_to_xla(settings.switches.bars), call, settings, problem, backends)
    shared_key = _key(problem, settings, None)  # machines of one job may differ
    if processes.is_follower():
        return _as_the_first_process(shared_key, call, settings, problem, backends)
    tuned = _decided(call, settings, problem, allowed, backends, unavailable, is_again)
    processes.publish(shared_key, lambda: to_json(tuned.placement))
    return tuned


def _deterministic(
    pinned: Placement | None,
    settings: Settings,
    problem: Problem,
    backends: Mapping[str, Backend],
    unavailable: Mapping[str, str],
) -> Tuned:
    """What ``pinned`` says, without looking at times or at the arguments of a call, which may differ."""
    why = "nothing is chosen by times, and no placement is pinned"
    if pinned is not None:
        plan_of(pinned, problem, backends)  # raises if it is for another program

        def why_not(backend: str, key: str, ops: Collection[str]) -> str | None:
            absent = None if backend in backends else unavailable.get(backend.partition("@")[0], "it is not here")
            return absent or settings.switches.bars(backend, key, ops)

        if environment(backends).items() <= dict(pinned.environment).items():
            left = replace(pinned.left_to_xla(why_not), unavailable=unavailable)
            return built(left, problem, backends)
        why = "the placement was made with other versions, settings or on another kind of machine; save it here again"
    note = f"Deterministic: XLA alone is used, for {why}."
    return Tuned(Placement((), notes=(note,), unavailable=unavailable), None)


def _as_pinned(
    pinned: Placement, call: Call, settings: Settings, problem: Problem, backends: Mapping[str, Backend]
) -> Tuned:
    """What ``pinned`` says, checked first where it was made in another environment."""
    if environment(backends).items() <= dict(pinned.environment).items():
        return built(pinned, problem, backends)
    plan_of(pinned, problem, backends)  # raises if it is for another program
    checked = _in_worker(call, problem, settings, pinned)
    tuned = built(checked, problem, backends)
    if checked.counts() == pinned.counts():
        return tuned
    return replace(tuned, fallen=(*tuned.fallen, *(n for n in checked.notes if n not in pinned.notes)))


def _as_the_first_process(
    key: str, call: Call, settings: Settings, problem: Problem, backends: Mapping[str, Backend]
) -> Tuned:
    """What the first process of this job decided, so that all run the same kernels."""
    try:
        decision = from_json(processes.await_decision(key, settings.budget_s + processes.PATIENCE_S))
    except (TimeoutError, ValueError) as why:
        return _xla_alone(why)
    note = "Decided by the first process of this job."
    if not decision.program:  # nothing was placed
        return Tuned(replace(decision, notes=(note, *decision.notes)), None)
    try:
        decided = _as_pinned(decision, call, settings, problem, backends)
    except Mismatch as why:
        return _xla_alone(why)
    return replace(decided, placement=replace(decided.placement, notes=(note, *decided.placement.notes)))


def _decided(
    call: Call,
    settings: Settings,
    problem: Problem,
    allowed: Sequence[Backend],
    backends: Mapping[str, Backend],
    unavailable: Mapping[str, str],
    is_again: bool,
) -> Tuned:
    """What was decided before, unless ``is_again``, else what tuning finds."""
    key = decision_key(problem, settings, backends)
    if not is_again:
        if (known := _recalled(key, problem, backends, settings)) is not None:
            return known
        if (known := _recalled_without(settings, problem, backends, unavailable)) is not None:
            return known
    if not allowed or problem.has_effects or not _is_wanted(problem, allowed):
        return Tuned(tune(problem, call.arguments, call.reference, settings, store()), None)
    if settings.tune == "cached":
        return built(tune(problem, call.arguments, call.reference, settings, store()), problem, backends)
    with tuning_lock(cache_directory(config.cache_dir), settings.budget_s):
        known = None if is_again else _recalled(key, problem, backends, settings)
        if known is not None:  # another process decided meanwhile
            return known
        placement = _in_worker(call, problem, settings)
        if placement.is_final or placement.budget_s:
            # Whoever is first decides for all. What stands there but was not used (damaged, or cut short) is replaced.
            unused = store().decision(key) is not None
            placement = from_json(store().decide(key, to_json(placement), replace=unused))
    try:
        return built(placement, problem, backends)
    except Mismatch as why:
        return _xla_alone(why)


def _say(name: str, tuned: Tuned) -> None:
    placement = tuned.placement
    counts = ", ".join(f"{backend} {count}" for backend, count in placement.counts().items())
    LOG.info("%s: %.2fx by %s, in %.1f s", name, placement.speedup, counts or "XLA alone", placement.tuning_s)
    for why in tuned.fallen:
        LOG.warning("%s: %s", name, why)
    for note in placement.notes:
        LOG.debug("%s: %s", name, note)
    for backend, reason in (placement.unavailable or {}).items():
        LOG.debug("%s: %s is not available: %s", name, backend, reason)
    for refusal in placement.refusals:
        LOG.debug("%s: %s refuses %s: %s", name, refusal.backend, "+".join(refusal.ops) or "all of it", refusal.reason)


def _xla_alone(why: Exception) -> Tuned:
    note = f"XLA alone is used: {why}"
    return Tuned(Placement((), notes=(note,)), None, (note,))


def decision_key(problem: Problem, settings: Settings, backends: Mapping[str, Backend]) -> str:
    """What a decision is kept under: the program, and all that may change what is best for it."""
    return _key(problem, settings, environment(backends))


def _key(problem: Problem, settings: Settings, environment: Mapping[str, str] | None) -> str:
    about: tuple[Any, ...] = environment, settings.tune, settings.tolerance, VERSION
    if settings.switches.regions:  # backends that are switched off are not in the environment
        about = (*about, settings.switches.regions)
    return hashlib.sha256(f"{problem.key} {about}".encode()).hexdigest()


#: Of how decisions are made; a change makes them all again.
VERSION = 1


def built(placement: Placement, problem: Problem, backends: Mapping[str, Backend]) -> Tuned:
    """``placement`` as a program of this process."""
    plan, notes = plan_of(placement, problem, backends)
    placement = replace(placement, notes=(*placement.notes, *notes)) if notes else placement
    if plan.is_plain:
        return Tuned(placement, None, notes)
    try:
        return Tuned(placement, lower(plan, problem.split, backends), notes)
    except Exception as failure:
        note = f"The placed program could not be built here: {type(failure).__name__}: {failure}"
        return Tuned(replace(placement, notes=(*placement.notes, note, "XLA alone is used.")), None, (*notes, note))


def _recalled(key: str, problem: Problem, backends: Mapping[str, Backend], settings: Settings) -> Tuned | None:
    """What was decided before, in this process or another, unless there is more time now than there was then."""
    text = store().decision(key)
    if text is None:
        return None
    try:
        placement = from_json(text)
        if not placement.is_final and placement.budget_s < settings.budget_s and settings.tune != "cached":
            return None
        if _has_failed(placement, backends):
            LOG.warning("What was decided before has a kernel that failed on this machine: it is decided anew.")
            return None
        note = f"Decided before, in {placement.tuning_s:.1f} s of tuning; nothing was measured now."
        return built(replace(placement, notes=(note, *placement.notes), **UNMEASURED), problem, backends)
    except (ValueError, Mismatch):  # a damaged record counts as none
        return None


def _has_failed(placement: Placement, backends: Mapping[str, Backend]) -> bool:
    """True if a kernel of ``placement`` is known to have failed here: since then, or the decision is not ours."""
    key_of = keys_by(backends)
    keys = {key_of(region) for region in placement.regions if region.backend in backends and region.backend != XLA}
    return any(isinstance(cost, Failed) for cost in store().get_many(tuple(keys)).values())


def _recalled_without(
    settings: Settings, problem: Problem, backends: Mapping[str, Backend], unavailable: Mapping[str, str]
) -> Tuned | None:
    """What was decided before some switch was thrown, without what it bars: a switch costs no tuning."""
    if not in_force().backends and not in_force().regions:
        return None
    here = environment(backends).items()
    for text in store().decisions_on(problem.key):
        try:
            placement = from_json(text)
            is_close = settings.tolerance is None or (placement.error or 0.0) <= settings.tolerance
            left = placement.left_to_xla(settings.switches.bars)
            is_close = is_close and not _has_failed(left, backends)
            if is_close and left.counts().keys() <= backends.keys() and here <= dict(placement.environment).items():
                note = "Decided before; what is switched off since then is left out, and nothing was measured now."
                left = replace(left, notes=(note, *left.notes), unavailable=unavailable, **UNMEASURED)
                return built(left, problem, backends)
        except (ValueError, Mismatch):
            continue
    return None


def _in_worker(call: Call, problem: Problem, settings: Settings, pinned: Placement | None = None) -> Placement:
    """What tuning finds, or what of ``pinned`` holds here; in a worker if that can be."""
    with shown(call.name) as progress:
        note = ""
        if config.worker and jax.default_backend() in SHARED:
            configuration = _compat.configuration()
            job = Job(call.program, call.frozen, call.arguments, settings, configuration, registry.portable(), pinned)
            try:
                return WORKER.tune(job, store(), progress)
            except NoWorker as why:
                note = f"Tuned in this process, where nothing contains a backend that crashes: {why}"
                LOG.warning("%s: %s", call.name, note)
        watch.listen(progress)
        try:
            given = call.arguments, call.reference, settings
            placement = tune(problem, *given, store()) if pinned is None else check(pinned, problem, *given)
        finally:
            watch.listen(None)
    return replace(placement, notes=(note, *placement.notes)) if note else placement


def _is_wanted(problem: Problem, backends: Collection[Backend]) -> bool:
    """True if it is worth a worker: a backend wants a part of the program, or cannot be asked outside of one."""
    foreign = [b for b in backends if not registry.is_builtin(b.name)]
    return bool(foreign) or any(is_wanted(graph, backends) for graph in problem.graphs.values())
