"""Which of several programs is the fastest, and whether it is faster than XLA alone beyond doubt.

What a GPU's own clock says must hold for the host's too, as far as that can tell: no call is to become slower.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .rounds import ENOUGH, FAR
from .whole import XLA_ALONE, Trials

#: Rounds in which all take part, and the share of the time for them; then those that are close are told apart.
FEW, FIRST = 3, 1 / 3
#: Rounds and seconds at most: as many as there is time for.
MOST_ROUNDS, MOST_SECONDS = 40, 12.0
#: A program this many times slower than another at its first run is not run again.
HOPELESS = 6.0
#: Where XLA alone takes longer than this, in seconds, and far longer than others, it is not timed again.
SLOW_S = 0.05
#: What is charged for a change between XLA and others, in seconds; and for all of a program, relative to its time.
CHANGE_S, CHANGES = 20e-6, 0.03
#: A placement must be faster than XLA by this much (and by more than the measurement's own spread) to be used.
MARGIN = 0.02
#: And by this many seconds: calls of the same program differ by as much from one minute to the next.
CALL_S = 3e-6
#: How often a placement that is faster by the median, but not beyond the spread, is timed once more beside XLA.
SECOND_CHANCES = 2
#: If it is faster by so much then, the machine is too busy to tell, and what is decided holds for this process alone.
LIKELY = 0.2
BUSY = "times differed too much from round to round, as on a busy machine, so the next process decides anew"
#: Rounds and seconds of such a race.
ROUNDS, SECONDS = 11, 4.0
#: A program shorter than this must win a second time: what disturbs it may last for a whole race.
SHORT_S = 0.005


@dataclass(frozen=True, eq=False)
class Outcome:
    """``winner`` is None where XLA alone is used. Times are medians of the same rounds.

    ``is_clear`` is False where the machine was too busy to tell whether a placement is faster than XLA.
    """

    winner: str | None
    measured_us: float | None
    xla_us: float | None
    error: float | None
    notes: tuple[str, ...]
    is_clear: bool = True


def decide(trials: Trials, deadline: float, changes: Callable[[str], int] = lambda name: 0) -> Outcome:
    """Time all programs of ``trials`` beside XLA alone: the fastest wins, if it is clearly faster than XLA.

    ``changes(name)`` are those between XLA and others in a program; see ``fastest``.
    """
    if trials.names:
        _race_all(trials, deadline)
    outcome = Outcome(None, None, None, None, ())
    while trials.names:
        outcome = _of_the_fastest(trials, deadline, changes)
        if outcome.winner is None or not _is_slower_for_the_host(trials, outcome.winner):
            break
        if outcome.winner in trials.names:
            trials.leave(outcome.winner)  # the next one may have fewer kernels to start
        outcome = replace(outcome, winner=None, measured_us=outcome.xla_us, error=None)
    if outcome.winner is not None and (excuse := trials.excuse(outcome.winner)):
        trials.notes.append(excuse)
    return replace(outcome, notes=tuple(trials.notes))


def _of_the_fastest(trials: Trials, deadline: float, changes: Callable[[str], int]) -> Outcome:
    """The fastest program beside XLA alone; without notes."""
    winner = fastest(trials.rounds.shared(trials.rounds.close(trials.names)), changes)
    medians = ", ".join(f"{name} {us:.1f} us" for name, us in medians_us(trials, winner).items())
    trials.notes.append(f"Whole programs: {medians}; best of them: {winner}.")
    ours, theirs = _clearer(trials, winner, deadline)
    if _is_faster(ours, theirs) and float(np.median(theirs)) < SHORT_S:
        again = trials.race([winner, XLA_ALONE], 4 * ROUNDS, 1.0, hopeless=np.inf)
        ours, theirs = again.get(winner, ours), again[XLA_ALONE]
    if winner not in trials.names or not len(ours):  # it broke down meanwhile
        return Outcome(None, None, None, None, ())
    ours_us, xla_us = float(np.median(ours)) * 1e6, float(np.median(theirs)) * 1e6
    if not _is_faster(ours, theirs):
        is_clear = ours_us > (1 - LIKELY) * xla_us
        busy = "" if is_clear else f"; XLA alone took {xla_us:.1f} us, but {BUSY}"
        trials.notes.append(f"{winner} took {ours_us:.1f} us, no clear gain over XLA alone, which is used{busy}.")
        return Outcome(None, xla_us, xla_us, None, (), is_clear)
    return Outcome(winner, ours_us, xla_us, trials.error(winner), ())


def _is_slower_for_the_host(trials: Trials, winner: str) -> bool:
    """True if XLA alone is clearly faster by the host's clock, where a GPU's own said otherwise.

    A GPU does not wait for a host that starts its kernels in time. One that has more of them to start than the GPU has
    work is what the caller waits for.
    """
    found = trials.by_host(winner, ROUNDS, SECONDS)
    if found is None:
        return winner not in trials.names
    ours, theirs = found
    if not _is_faster(theirs, ours):
        return False
    ours_us, xla_us = (float(np.median(samples)) * 1e6 for samples in found)
    trials.notes.append(
        f"{winner} is slower by the host's clock, {ours_us:.1f} us beside XLA alone's {xla_us:.1f}, so it is not used."
    )
    return True


def medians_us(trials: Trials, other: str) -> dict[str, float]:
    """Microseconds of XLA alone and of all programs on the machine as it was for ``other`` in all of its rounds.

    Those that never met it are left out.
    """
    other_s = trials.rounds.median_s(other)
    ratios = {name: trials.rounds.ratio(name, other) for name in (XLA_ALONE, *trials.names)}
    return {name: ratio * other_s * 1e6 for name, ratio in ratios.items() if other_s is not None and ratio == ratio}


def _race_all(trials: Trials, deadline: float) -> None:
    """A few rounds of all, then those that are close, as long as there is time."""
    begin = time.perf_counter()
    seconds = min(MOST_SECONDS, max(0.5, deadline - begin))
    one = len(trials.names) == 1
    running = [*_xla_if_open(trials, trials.names), *trials.names]
    if len(running) > 1:
        trials.race(running, MOST_ROUNDS if one else FEW, seconds if one else FIRST * seconds, HOPELESS)
    close = trials.rounds.close(trials.names)
    running = [*_xla_if_open(trials, close), *close]
    if not one and len(running) > 1:
        trials.race(running, MOST_ROUNDS, max(0.0, begin + seconds - time.perf_counter()), HOPELESS)


def _xla_if_open(trials: Trials, names: Sequence[str]) -> list[str]:
    """XLA alone, unless it is slow and each of ``names`` has met it and was faster by far."""
    xla_s = trials.rounds.median_s(XLA_ALONE)
    is_far = xla_s is not None and all(trials.rounds.ratio(XLA_ALONE, name) > FAR for name in names)
    return [] if is_far and xla_s is not None and xla_s > SLOW_S else [XLA_ALONE]


def _clearer(trials: Trials, winner: str, deadline: float) -> tuple[np.ndarray, np.ndarray]:
    """Samples of the same rounds, those of ``winner`` first, then XLA's; more while it is faster but not clearly.

    Empty if it broke down before it met XLA.
    """
    for chance in range(SECOND_CHANCES):
        met = trials.rounds.shared([winner, XLA_ALONE])
        if len(met[winner]):
            promising = float(np.median(met[winner])) < (1 - MARGIN) * float(np.median(met[XLA_ALONE]))
            out_of_time = chance > 0 and time.perf_counter() > deadline
            if not promising or _is_faster(met[winner], met[XLA_ALONE]) or out_of_time:
                break
        if winner not in trials.race([winner, XLA_ALONE], ROUNDS, SECONDS, hopeless=np.inf):
            break
    met = trials.rounds.shared([winner, XLA_ALONE])
    return met[winner], met[XLA_ALONE]


def fastest(times: Mapping[str, np.ndarray], changes: Callable[[str], int] = lambda name: 0) -> str:
    """The program that takes the least, by what it takes of the rounds that it shares with the others.

    A round is as long as the machine is slow in it, so that each counts alike. Programs with fewer rounds than others
    were hopeless at once. What a change between XLA and others costs differs from one minute to the next, and here it
    tends to be cheap: each is charged ``CHANGE_S`` more, all of them ``CHANGES`` of a program's time at most.
    """
    rounds = max(map(len, times.values()))
    shares = {name: np.log(samples) for name, samples in times.items() if len(samples) == rounds}
    usual = np.mean(list(shares.values()), axis=0)
    took = {name: float(np.exp(np.median(samples - usual) + np.mean(usual))) for name, samples in shares.items()}
    return min(took, key=lambda name: took[name] + min(CHANGE_S * changes(name), CHANGES * took[name]))


def stay(note: str) -> Outcome:
    """XLA alone, without a comparison."""
    return Outcome(None, None, None, None, (note,))


def _is_faster(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """True if ``ours`` beats ``theirs`` by more than the margins in the middle half of the rounds.

    Of fewer rounds than ``ENOUGH`` it takes a gain that no drift explains.
    """
    count = min(len(ours), len(theirs))
    if count == 0 or float(np.median(ours)) > float(np.median(theirs)) - CALL_S:
        return False
    ratios = ours[:count] / theirs[:count]
    if count < ENOUGH:
        return FAR * float(np.median(ratios)) < 1.0
    return float(np.percentile(ratios, 75)) < 1.0 and float(np.median(ratios)) < 1 - MARGIN
