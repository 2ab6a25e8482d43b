"""Costs of candidates: check against XLA first, then time against each other.

Each distinct region (by its canonical key) is compiled, checked and timed once, and every equal one shares the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..backends.base import Backend
from ..candidates import XLA, Candidate, is_view
from ..costs import Cost, CostKey, CostStore, Failed, Measured
from .compare import largest_error, tolerance
from .inputs import draw
from .race import quartile_spread, race

ROUNDS = 9
SECONDS_PER_REGION = 0.12


@dataclass(frozen=True, eq=False)
class _Runner:
    """A compiled candidate: ``call(arrays)`` runs it on arrays for the region's entries, packing its frozen ones."""

    call: Callable[..., Any]
    prepare: Callable[..., tuple[Any, ...]] | None
    is_frozen: tuple[bool, ...]

    def ready(self, arrays: Sequence[Any]) -> Callable[[], Any]:
        """A call without arguments on ``arrays``, packing done."""
        if self.prepare is None:
            return lambda: self.call(*arrays)
        frozen = [a for a, is_frozen in zip(arrays, self.is_frozen, strict=True) if is_frozen]
        others = [a for a, is_frozen in zip(arrays, self.is_frozen, strict=True) if not is_frozen]
        operands = (*self.prepare(*frozen), *others)
        return lambda: self.call(*operands)


def measure(
    candidates: Iterable[Candidate],
    backends: Mapping[str, Backend],
    store: CostStore,
    key_of: Callable[[Candidate], CostKey],
    deadline: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[tuple[str, str], Cost]:
    """Costs by (region key, backend). What ``store`` knows is not measured again; past ``deadline`` nothing is."""
    groups: dict[str, dict[str, Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.key, {}).setdefault(candidate.backend, candidate)
    costs: dict[tuple[str, str], Cost] = {}
    pending: list[dict[str, Candidate]] = []
    for key, group in groups.items():
        known = {name: store.get(key_of(c)) for name, c in group.items()}
        if all(cost is not None for cost in known.values()):
            costs.update(((key, name), cost) for name, cost in known.items() if cost is not None)
        elif is_view(next(iter(group.values())).region):
            costs.update(((key, name), Measured(0.0, note="free: shapes only")) for name in group)
        else:
            pending.append(group)
    # The regions with most work first: if time runs out, what is missing matters least.
    pending.sort(key=_work, reverse=True)
    for i, group in enumerate(pending):
        progress(i, len(pending))
        found = measure_group(group, backends, deadline)
        for name, cost in found.items():
            costs[group[name].key, name] = cost
            if not (isinstance(cost, Failed) and cost.stage == "budget"):
                store.put(key_of(group[name]), cost)
    return costs


def _work(group: Mapping[str, Candidate]) -> float:
    region = next(iter(group.values())).region
    values = (*region.entries, *region.exits)
    return sum(v.nbytes for v in values) * (1.0 + len(region.nodes) * 0.1)


def measure_group(group: Mapping[str, Candidate], backends: Mapping[str, Backend], deadline: float) -> dict[str, Cost]:
    """Costs of the candidates of one region, by backend; XLA must be among them."""
    if time.perf_counter() > deadline:
        return {name: Failed("budget", "not measured: the tuning budget was spent") for name in group}
    region = group[XLA].region
    costs: dict[str, Cost] = {}
    runners: dict[str, _Runner] = {}
    arrays = draw(region.entries)
    with ThreadPoolExecutor(2) as pool:
        # Tracing stays on this thread, which alone holds the caller's JAX settings; compiling does not need them.
        building: dict[str, Future[_Runner]] = {}
        for name, candidate in group.items():
            try:
                building[name] = pool.submit(_lowered(candidate, backends[name], arrays))
            except Exception as error:
                costs[name] = Failed("compile", _first_line(error))
        for name, future in building.items():
            try:
                runners[name] = future.result()
            except Exception as error:
                costs[name] = Failed("compile", _first_line(error))
    if XLA not in runners:
        return costs | {name: Failed("verify", "XLA itself cannot run this region alone") for name in runners}
    errors: dict[str, float] = {}
    for distribution in ("normal", "wide"):
        _verify(group, runners, costs, errors, arrays if distribution == "normal" else draw(region.entries, distribution))
    times = race(
        {name: runner.ready(arrays) for name, runner in runners.items()},
        rounds=ROUNDS,
        seconds=SECONDS_PER_REGION,
        deadline=deadline,
    )
    for name, samples in times.items():
        overhead = min(call_overhead_s(len(arrays)), 0.9 * float(np.median(samples)))
        median_us = (float(np.median(samples)) - overhead) * 1e6
        costs[name] = Measured(median_us, quartile_spread(samples) * 1e6, len(samples), errors.get(name))
    return costs


def _lowered(candidate: Candidate, backend: Backend, arrays: Sequence[Any]) -> Callable[[], _Runner]:
    """Trace ``candidate``; the result compiles it."""
    region = candidate.region
    is_frozen = tuple(v in candidate.frozen for v in region.entries)
    kernel = backend.emit_frozen(region, candidate.frozen) if any(is_frozen) else None
    if kernel is None:
        lowered = jax.jit(backend.emit(region)).lower(*arrays)
        return lambda: _Runner(lowered.compile(), None, is_frozen)
    prepare = jax.jit(kernel.prepare)
    prepared = prepare(*(a for a, f in zip(arrays, is_frozen, strict=True) if f))
    lowered = jax.jit(kernel.run).lower(*prepared, *(a for a, f in zip(arrays, is_frozen, strict=True) if not f))
    return lambda: _Runner(lowered.compile(), prepare, is_frozen)


def _verify(
    group: Mapping[str, Candidate],
    runners: dict[str, _Runner],
    costs: dict[str, Cost],
    errors: dict[str, float],
    arrays: Sequence[Any],
) -> None:
    """Move runners whose results differ from XLA's on ``arrays`` from ``runners`` to ``costs``."""
    wanted = _outputs(runners[XLA].ready(arrays)())
    allowed = tolerance(group[XLA].region)
    for name in [n for n in runners if n != XLA]:
        try:
            error = largest_error(_outputs(runners[name].ready(arrays)()), wanted)
        except Exception as failure:
            costs[name] = Failed("run", _first_line(failure))
            del runners[name]
            continue
        errors[name] = max(error, errors.get(name, 0.0))
        if not error <= allowed:
            costs[name] = Failed("verify", f"differs from XLA by {error:.2e} of the largest output; {allowed:.2e} allowed")
            del runners[name]


def _outputs(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (tuple, list)) else [result]


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"


@lru_cache
def call_overhead_s(arguments: int) -> float:
    """Seconds that a call of a compiled function with ``arguments`` small arrays takes, whatever it computes."""
    small = [jnp.zeros((), jnp.float32)] * max(arguments, 1)
    nothing = jax.jit(lambda *arrays: arrays[0] + 1)
    jax.block_until_ready(nothing(*small))
    samples = race({"nothing": lambda: nothing(*small)}, rounds=20, seconds=0.05)
    return float(np.min(samples["nothing"]))
