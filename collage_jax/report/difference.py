"""What one placement decides otherwise than another, as a table for a person.

Places of the two that share nodes are set against each other: one of the same nodes on another backend has moved, one
against several is a split or a merger. Placements of different programs are matched by what their regions compute.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TypeAlias

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..candidates import XLA
from ..costs import Measured
from ..placement import PlacedRegion, Placement
from .figures import duration, is_timed
from .table import WIDTH

#: A node by its graph and place, or one of several equal regions by key and number.
Cell: TypeAlias = Hashable
Spot: TypeAlias = tuple[frozenset[Cell], PlacedRegion]


@dataclass(frozen=True)
class Change:
    """Regions of the first placement that became others in the second, at ``count`` places."""

    kind: str
    before: tuple[PlacedRegion, ...]
    after: tuple[PlacedRegion, ...]
    count: int = 1


def difference(first: Placement, second: Placement) -> str:
    """What ``second`` places otherwise than ``first``; empty if nothing, whatever the times are."""
    lines = list(_programs(first, second)) + list(_circumstances(first, second))
    found = changes(first, second)
    if not lines and not found:
        return ""
    console = Console(file=StringIO(), width=WIDTH, no_color=True, highlight=False)
    for line in lines:
        console.print(Text(line))
    if found:
        console.print(_table(found))
    elif not _other_programs(first, second):
        console.print(Text("All regions are placed alike."))
    console.print(Text(f"Whole program: {_whole(first)} in the first, {_whole(second)} in the second."))
    return console.file.getvalue()  # type: ignore[attr-defined]


def changes(first: Placement, second: Placement) -> list[Change]:
    """Where the placements differ, equal changes as one, those that make the largest difference in time first."""
    others = _other_programs(first, second)
    before, after = list(_spots(first, by_key=others)), list(_spots(second, by_key=others))
    counted: dict[Hashable, Change] = {}
    for left, right in _overlapping(before, after):
        if _backends(left) == _backends(right):
            continue
        sides = tuple(r for _, r in left), tuple(r for _, r in right)
        kind = _kind(*sides, others)
        if kind is None:
            continue
        key = tuple(tuple((r.backend, r.key, r.ops) for r in side) for side in sides)
        known = counted.get(key)
        counted[key] = Change(kind, *sides, count=known.count + 1 if known else 1)
    return sorted(counted.values(), key=_weight, reverse=True)


def _kind(before: Sequence[PlacedRegion], after: Sequence[PlacedRegion], other_programs: bool) -> str | None:
    """What happened in a word or two; None if nothing did: XLA fuses its operations as it likes, listed or not."""
    if other_programs and not (before and after):
        return "only in second" if after else "only in first"
    were_xla, are_xla = (all(region.backend == XLA for region in side) for side in (before, after))
    if were_xla or are_xla:
        return None if were_xla and are_xla else "left XLA" if were_xla else "back to XLA"
    if len(before) == len(after) == 1:
        return "moved"
    if len(before) == 1:
        return "split"
    return "merged" if len(after) == 1 else "divided otherwise"


def _spots(placement: Placement, *, by_key: bool) -> Iterator[Spot]:
    """Every region at every place, with the nodes it covers there, or, failing that, with a name and number."""
    numbers: dict[Hashable, int] = {}
    for region in placement.regions:
        if region.places and not by_key:
            yield from ((frozenset((p.graph, n) for n in p.nodes), region) for p in region.places)
            continue
        key = region.key or (region.ops, region.shapes)
        for _ in range(region.count):
            numbers[key] = numbers.get(key, 0) + 1
            yield frozenset({("region", key, numbers[key])}), region


def _overlapping(before: Sequence[Spot], after: Sequence[Spot]) -> Iterator[tuple[list[Spot], list[Spot]]]:
    """The spots of both that hang together by shared cells, in the order of the first."""
    spots = [*before, *after]
    holders: dict[Cell, list[int]] = {}
    for i, (cells, _) in enumerate(spots):
        for cell in cells:
            holders.setdefault(cell, []).append(i)
    seen: set[int] = set()
    for start in range(len(spots)):
        if start in seen:
            continue
        seen.add(start)
        part = [start]
        for i in part:
            fresh = sorted({j for cell in spots[i][0] for j in holders[cell]} - seen)
            seen.update(fresh)
            part += fresh
        part.sort()
        yield [spots[i] for i in part if i < len(before)], [spots[i] for i in part if i >= len(before)]


def _backends(spots: Iterable[Spot]) -> Mapping[frozenset[Cell], str]:
    return {cells: region.backend for cells, region in spots}


def _other_programs(first: Placement, second: Placement) -> bool:
    return bool(first.program and second.program) and first.program != second.program


def _programs(first: Placement, second: Placement) -> Iterator[str]:
    if _other_programs(first, second):
        yield (
            f"Two different programs ({first.program[:12]} and {second.program[:12]}):"
            " their regions are matched by what they compute."
        )


def _circumstances(first: Placement, second: Placement) -> Iterator[str]:
    recorded = first.environment and second.environment
    for name in dict.fromkeys((*first.environment, *second.environment)) if recorded else ():
        values = [placement.environment.get(name, "not recorded") for placement in (first, second)]
        if values[0] != values[1]:
            yield f"{name}: {values[0]} in the first, {values[1]} in the second"
    missing = [placement.unavailable or {} for placement in (first, second)]
    for name in dict.fromkeys((*missing[0], *missing[1])):
        if (name in missing[0]) != (name in missing[1]):
            which, reasons = ("first", missing[0]) if name in missing[0] else ("second", missing[1])
            yield f"{name} was not available for the {which}: {reasons[name]}"


def _table(found: Sequence[Change]) -> Table:
    rows = Table(title="Placed otherwise", title_justify="left")
    rows.add_column("change")
    rows.add_column("first", overflow="fold", ratio=3)
    rows.add_column("us", justify="right")
    rows.add_column("second", overflow="fold", ratio=3)
    rows.add_column("us", justify="right")
    rows.add_column("n", justify="right")
    for change in found:
        cells = (change.kind, *_side(change.before), *_side(change.after), str(change.count))
        rows.add_row(*map(Text, cells))
    return rows


def _side(regions: Sequence[PlacedRegion]) -> tuple[str, str]:
    alone = [op for region in regions if region.backend == XLA for op in region.ops]
    parts = [f"{region.backend}: {'+'.join(region.ops)}" for region in regions if region.backend != XLA]
    parts += [f"{XLA}: {'+'.join(alone)}"] if alone else []
    time = _time_us(regions)
    more = "" if all(is_timed(region.cost) for region in regions) else " + ?"
    return "\n".join(parts) or "-", "-" if time is None else f"{time:.1f}{more}"


def _time_us(regions: Iterable[PlacedRegion]) -> float | None:
    """The time of ``regions`` together, None if none of them was timed."""
    times = [r.cost.median_us for r in regions if isinstance(r.cost, Measured) and is_timed(r.cost)]
    return sum(times) if times else None


def _weight(change: Change) -> float:
    return abs((_time_us(change.after) or 0.0) - (_time_us(change.before) or 0.0)) * change.count


def _whole(placement: Placement) -> str:
    if placement.xla_us is None:
        return "not measured"
    if placement.is_xla or placement.measured_us is None:
        return f"jax.jit's {duration(placement.xla_us)}"
    return f"{duration(placement.measured_us)} beside jax.jit's {duration(placement.xla_us)}, {placement.speedup:.2f}x,"
