"""Costs and decisions in a file that processes share and that outlives them."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ..costs import Cost, CostKey
from . import queries, upkeep
from .connection import SharedConnection
from .records import Decision, Record, flaw, is_past, storable, strength
from .transactions import reading, writing
from .upkeep import Statistics


class Database:
    """A ``CostStore`` in the SQLite file ``path``; None keeps all in memory, for this process.

    Threads and processes may use it at once, and forks. Nothing is opened before it is needed. A file that cannot be
    used never stops a run: there is one warning, and what is written from then on lives in memory. With ``read_only``
    it is so without a warning, from a copy of the file as it is at first use; the file is never written.

    Of more than ``max_costs`` costs or ``max_decisions`` decisions, those not used for longest are deleted; each
    process may be late by 1%. ``timeout_s`` bounds each wait for other processes. ``clock`` gives seconds since 1970.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        *,
        read_only: bool = False,
        max_costs: int = 200_000,
        max_decisions: int = 10_000,
        timeout_s: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        for name, most in (("max_costs", max_costs), ("max_decisions", max_decisions)):
            if most < 1:
                raise ValueError(f"`{name}` must be at least 1, got {most}; leave it out for the default")
        self._most = {"costs": max_costs, "decisions": max_decisions}
        self._writes = dict.fromkeys(self._most, 0)
        self._timeout_s = timeout_s
        self._clock = clock
        self._connection = SharedConnection(None if path is None else Path(path).absolute(), read_only, timeout_s)

    @property
    def path(self) -> Path | None:
        """The file; None for memory."""
        return self._connection.path

    @property
    def persistent(self) -> bool:
        """True if what is written now outlives this process."""
        return not self._connection.in_memory

    def get(self, key: CostKey) -> Cost | None:
        """The cost known for ``key``; None if there is none, or just an old failure that load may have caused."""
        return self.get_many((key,)).get(key)

    def get_many(self, keys: Iterable[CostKey]) -> dict[CostKey, Cost]:
        """The costs known for ``keys``, all of the same moment."""
        wanted, now_s = tuple(dict.fromkeys(keys)), self._clock()

        def read(connection: sqlite3.Connection) -> dict[CostKey, Cost]:
            with reading(connection):
                found = [entry for key in wanted if (entry := queries.find_cost(connection, key)) is not None]
            current = [entry for entry in found if not is_past(entry[0], now_s)]
            self._note_use(connection, "costs", [entry[1:] for entry in current], now_s)
            return {record.key: record.cost for record, _, _ in current}

        return self._connection.run(read)

    def put(self, key: CostKey, cost: Cost) -> None:
        """Remember ``cost`` for ``key``, in place of what was known.

        What is no cost (a time that is not a number, a failure for want of budget) is not kept.
        """
        if flaw(cost) is not None:
            return
        now_s = self._clock()

        def write(connection: sqlite3.Connection) -> None:
            with writing(connection):
                queries.write_cost(connection, Record(key, cost, now_s), now_s)
                self._keep_small(connection, "costs")

        self._connection.run(write)

    def decision(self, key: str) -> str | None:
        """The JSON text kept for a program's ``key``; None if there is none."""
        now_s = self._clock()

        def read(connection: sqlite3.Connection) -> str | None:
            found = queries.find_decision(connection, key)
            if found is None:
                return None
            decision, row, used_s = found
            self._note_use(connection, "decisions", [(row, used_s)], now_s)
            return decision.text

        return self._connection.run(read)

    def decisions_on(self, program: str) -> list[str]:
        """The JSON texts kept for the program with that hash, whatever else they were decided for; last used first."""
        return self._connection.run(lambda connection: queries.texts_with(connection, f'"{program}"'))

    def decide(self, key: str, text: str, *, replace: bool = False) -> str:
        """Keep the JSON ``text`` for ``key`` if nothing is kept for it, and return what is kept now.

        So however many processes decide at once, all go on with what the first one wrote. With ``replace`` it is
        ``text`` in any case.
        """
        if not queries.is_json(text):
            raise ValueError(f"a decision must be JSON text, got {text!r}; make it with json.dumps")
        text, now_s = storable(text), self._clock()

        def write(connection: sqlite3.Connection) -> str:
            with writing(connection):
                found = None if replace else queries.find_decision(connection, key)
                if found is not None:
                    return found[0].text
                queries.write_decision(connection, Decision(key, text, now_s), now_s)
                self._keep_small(connection, "decisions")
                return text

        return self._connection.run(write)

    def contents(self) -> tuple[list[Record], list[Decision]]:
        """All costs that count, and all decisions."""
        now_s = self._clock()

        def read(connection: sqlite3.Connection) -> tuple[list[Record], list[Decision]]:
            with reading(connection):
                costs = [r for r in queries.all_costs(connection) if not is_past(r, now_s)]
                return costs, list(queries.all_decisions(connection))

        return self._connection.run(read)

    def merge(self, costs: Iterable[Record], decisions: Iterable[Decision]) -> tuple[int, int]:
        """Take over those of ``costs`` (without flaws) that are stronger than what is known (``records.strength``), and
        ``decisions`` for programs without one: all of them, or none after an error. How many of each were taken over.
        """
        now_s = self._clock()
        costs, decisions = list(costs), list(decisions)

        def take(connection: sqlite3.Connection) -> tuple[int, int]:
            taken = [0, 0]
            with writing(connection):
                for record in costs:
                    known = queries.find_cost(connection, record.key)
                    if known is None or is_past(known[0], now_s) or strength(record) > strength(known[0]):
                        queries.write_cost(connection, record, now_s)
                        taken[0] += 1
                for decision in decisions:
                    if queries.find_decision(connection, decision.key) is None:
                        queries.write_decision(connection, decision, now_s)
                        taken[1] += 1
                for table, most in self._most.items():
                    upkeep.trim(connection, table, most)
            return taken[0], taken[1]

        return self._connection.run(take)

    def prune(
        self,
        *,
        versions: Mapping[str, str] | None = None,
        unused_for_s: float | None = None,
        max_costs: int | None = None,
        max_decisions: int | None = None,
    ) -> int:
        """Delete what is not worth keeping, and give the room back; how many costs and decisions that were.

        Those go that can no longer be asked for; of the backends in ``versions`` those of any other version; those not
        used for ``unused_for_s`` seconds (known to a day); and, least recently used first, those above a number.
        """
        now_s = self._clock()

        def delete(connection: sqlite3.Connection) -> int:
            with writing(connection):
                deleted = upkeep.drop_outdated(connection, versions or {}, now_s)
                for table, most in (("costs", max_costs), ("decisions", max_decisions)):
                    if unused_for_s is not None:
                        deleted += upkeep.drop_unused(connection, table, now_s - unused_for_s)
                    if most is not None:
                        deleted += upkeep.trim(connection, table, most)
                upkeep.drop_empty_circumstances(connection)
            upkeep.shrink(connection)
            return deleted

        return self._connection.run(delete)

    def clear(self) -> None:
        """Delete everything."""
        self.prune(max_costs=0, max_decisions=0)

    def statistics(self) -> Statistics:
        """Counts by backend, number of decisions, size."""
        persistent = self.persistent
        return self._connection.run(lambda connection: upkeep.statistics(connection, self.path, persistent))

    def close(self) -> None:
        """Close the file. It is opened again when needed; what was only in memory is lost."""
        self._connection.close()

    def __len__(self) -> int:
        count = "SELECT count(*) FROM costs"
        return self._connection.run(lambda connection: connection.execute(count).fetchone()[0])

    def _note_use(
        self, connection: sqlite3.Connection, table: str, uses: Iterable[tuple[int, float]], now_s: float
    ) -> None:
        stale = [row for row, used_s in uses if now_s - used_s > queries.USE_NOTED_EVERY_S]
        if stale:
            queries.note_use(connection, table, stale, now_s, self._timeout_s)

    def _keep_small(self, connection: sqlite3.Connection, table: str) -> None:
        """Trim ``table`` at this process's first write to it, and then whenever it may have grown by 1%."""
        most = self._most[table]
        if self._writes[table] % max(1, most // 100) == 0:
            upkeep.trim(connection, table, most)
        self._writes[table] += 1
