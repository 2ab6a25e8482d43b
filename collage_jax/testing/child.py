"""In a process of its own: the backend as it was sent, its regions found again, lowered, compiled and run."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.monitoring

from .. import _compat
from ..backends import registry
from ..graph.region import Region
from ..measure.inputs import draw
from ..problem import problem_of
from ..worker import transfer
from .findings import said
from .kernels import bits, compiled, forms, run


@dataclass(frozen=True, eq=False)
class Question:
    """``backend`` is pickled, so that what is wrong with it does not hide the rest; ``state`` is ``portable()``'s.

    ``programs`` pairs closed jaxprs with the places of regions: the graph's name and the nodes' numbers.
    """

    backend: bytes
    state: Any
    configuration: dict[str, Any]
    programs: Sequence[tuple[Any, Sequence[tuple[str, tuple[int, ...]]]]]


@dataclass(frozen=True)
class Result:
    """What a region came to: its program as text and a hash of the results; or why it came to nothing.

    ``results`` is None if they differ from run to run.
    """

    text: str = ""
    results: str | None = None
    failure: str = ""


@dataclass(frozen=True)
class Answer:
    """``unreadable`` says why the backend could not be made from what was sent, ``unusable`` why it cannot be used.

    ``found_compiled`` counts programs that were in JAX's persistent cache.
    """

    unreadable: str = ""
    unusable: str = ""
    version: str = ""
    results: tuple[Result, ...] = ()
    found_compiled: int = 0


def main(question: str, answer: str) -> None:
    """Answer the question in the one file in the other."""
    data = transfer.loads(Path(question).read_bytes())
    Path(answer).write_bytes(pickle.dumps(_answer(data)))


def _answer(question: Question) -> Answer:
    found: list[str] = []
    jax.monitoring.register_event_listener(
        lambda event, **_: found.append(event) if event.endswith("/cache_hits") else None
    )
    try:
        backend = transfer.loads(question.backend)
        if question.state is not None:
            backend.adopt(question.state)
    except Exception as error:
        return Answer(unreadable=said(error))
    _compat.configure(question.configuration)
    unusable = registry.why_unavailable(backend)
    if unusable is not None:
        return Answer(unusable=unusable)
    return Answer("", "", backend.version(), tuple(_results(backend, question)), len(found))


def _results(backend: Any, question: Question) -> Iterator[Result]:
    for jaxpr, places in question.programs:
        graphs = problem_of(jaxpr, ()).graphs
        for name, nodes in places:
            graph = graphs[name]
            yield _result(backend, Region.of(graph, (graph.nodes[i] for i in nodes)))


def _result(backend: Any, region: Region) -> Result:
    text = ""
    try:
        kernel = compiled(backend.emit(region), forms(region.entries))
        text = kernel.text
        first, second = (bits(run(kernel, draw(region.entries))) for _ in range(2))
    except Exception as error:
        return Result(text, None, said(error))
    return Result(text, first if first == second else None)
