"""A bounded load on a server of this machine: how many requests it answers, how soon, and whether rightly.

Engines take turns, a phase each, so that a machine that changes speed treats them alike. Each of the clients sends its
next request when it has the answer to the last: enough of them keep the server saturated.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit

import click
import httpx
import numpy as np

#: Different samples that are sent.
SAMPLES = 8
#: How far an answer may be from the first to the same sample, relative to the largest number in it: batches of other
#: sizes are computed by other kernels.
TOLERANCE = 1e-3
LONGEST_S, MOST_CLIENTS, PATIENCE_S = 3600.0, 256, 60.0


@dataclass
class Outcome:
    """What came back of one engine: ``latencies_s`` of each answer; of each phase, answers and seconds."""

    latencies_s: list[float] = field(default_factory=list)
    phases: list[tuple[int, float]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def summary(self) -> dict[str, Any]:
        p50, p90, p99, most = np.percentile(self.latencies_s or [np.nan], (50, 90, 99, 100)) * 1e3
        seconds = sum(taken for _, taken in self.phases)
        return {
            "answers": len(self.latencies_s),
            "seconds": seconds,
            "per_s": len(self.latencies_s) / seconds if seconds else 0.0,
            "p50_ms": p50,
            "p90_ms": p90,
            "p99_ms": p99,
            "max_ms": most,
            "errors": dict(self.errors),
        }


@dataclass
class Load:
    """Clients that ask ``client`` for results on ``bodies``; at most ``requests`` in all, until ``deadline``."""

    client: httpx.AsyncClient
    bodies: Sequence[bytes]
    requests: int
    deadline: float
    first: dict[int, np.ndarray] = field(default_factory=dict)

    async def phase(self, engine: str, clients: int, seconds: float, outcome: Outcome) -> None:
        """Ask ``engine`` for ``seconds``."""
        begin = time.perf_counter()
        before = len(outcome.latencies_s)
        until = min(begin + seconds, self.deadline)
        await asyncio.gather(*(self._client(engine, number, until, outcome) for number in range(clients)))
        outcome.phases.append((len(outcome.latencies_s) - before, time.perf_counter() - begin))

    async def _client(self, engine: str, number: int, until: float, outcome: Outcome) -> None:
        for sample in cycle(range(number % SAMPLES, number % SAMPLES + SAMPLES)):
            if time.perf_counter() >= until or self.requests <= 0:
                return
            self.requests -= 1
            begin = time.perf_counter()
            try:
                answer = await self.client.post(
                    "/predict", params={"engine": engine}, content=self.bodies[sample % SAMPLES]
                )
            except httpx.HTTPError as error:
                outcome.errors[type(error).__name__] += 1
                await asyncio.sleep(0.1)
                continue
            if answer.status_code != 200:
                outcome.errors[f"status {answer.status_code}"] += 1
                await asyncio.sleep(0.1)
            elif not self._is_right(sample % SAMPLES, answer.content):
                outcome.errors["wrong answer"] += 1
            else:
                outcome.latencies_s.append(time.perf_counter() - begin)

    def _is_right(self, sample: int, content: bytes) -> bool:
        """True if the answer is finite and what any engine first gave for this sample, but for rounding."""
        got = np.load(BytesIO(content), allow_pickle=False)
        wanted = self.first.setdefault(sample, got)
        limit = TOLERANCE * max(float(np.abs(wanted).max(initial=0)), 1e-30)
        return got.shape == wanted.shape and bool(np.all(np.abs(got - wanted) <= limit))


async def loaded(
    url: str, engines: Sequence[str], clients: int, seconds: float, phase_s: float, requests: int
) -> dict[str, Outcome]:
    """What each engine answers in ``seconds`` in all."""
    if not _is_here(url):
        raise click.BadParameter(f"the server must be on this machine, got {url}; give a loopback address")
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, limits=limits, trust_env=False) as client:
        health = (await client.get("/healthz")).raise_for_status().json()
        rng = np.random.default_rng(0)
        sample = health["sample"]
        bodies = [_written(_drawn(rng, sample["shape"], np.dtype(sample["dtype"]))) for _ in range(SAMPLES)]
        load = Load(client, bodies, requests, time.perf_counter() + seconds)
        outcomes = {engine: Outcome() for engine in engines}
        while time.perf_counter() < load.deadline and load.requests > 0:
            for engine in engines:
                await load.phase(engine, clients, phase_s, outcomes[engine])
    return outcomes


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _drawn(rng: np.random.Generator, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    if np.issubdtype(dtype, np.integer):
        return rng.integers(0, 100, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def _written(array: np.ndarray) -> bytes:
    written = BytesIO()
    np.save(written, array, allow_pickle=False)
    return written.getvalue()


@click.command()
@click.option("--url", default="http://127.0.0.1:8000", show_default=True)
@click.option("--engine", "engines", multiple=True, default=("kernels",), show_default=True)
@click.option("--clients", type=click.IntRange(1, MOST_CLIENTS), default=16, show_default=True)
@click.option("--seconds", type=click.FloatRange(0, LONGEST_S), default=60.0, show_default=True, help="In all.")
@click.option("--phase-s", type=click.FloatRange(0.1), default=10.0, show_default=True, help="For one engine in turn.")
@click.option("--requests", type=click.IntRange(1), default=1_000_000, show_default=True, help="At most, in all.")
@click.option("--json", "as_json", is_flag=True)
def main(
    url: str, engines: Sequence[str], clients: int, seconds: float, phase_s: float, requests: int, as_json: bool
) -> None:
    """Keep a server of this machine saturated, and print what it answered."""
    outcomes = asyncio.run(loaded(url, engines, clients, seconds, phase_s, requests))
    figures = {engine: outcome.summary() for engine, outcome in outcomes.items()}
    if as_json:
        click.echo(json.dumps(figures))
        return
    for engine, found in figures.items():
        errors = ", ".join(f"{count} {what}" for what, count in found["errors"].items()) or "none"
        click.echo(
            f"{engine:10} {found['answers']:6} answers in {found['seconds']:.0f} s, {found['per_s']:.1f}/s; ms: p50 "
            f"{found['p50_ms']:.1f}, p90 {found['p90_ms']:.1f}, p99 {found['p99_ms']:.1f}, most {found['max_ms']:.1f}; "
            f"errors: {errors}"
        )


if __name__ == "__main__":
    main()
