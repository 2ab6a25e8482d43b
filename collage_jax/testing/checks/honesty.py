"""``supports`` means what it says: what it takes can be run, it takes the same each time, and nothing is changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from ...costs import Measured
from ...graph.canonical import graph_key
from ...graph.ir import Graph, Node
from ...graph.region import Region
from ...problem import problem_of
from ..findings import Violation, said
from ..kernels import forms, outputs
from ..samples import Program, Sample
from ..subject import Broken, Subject

violation = partial(Violation, "honesty")


def check_honesty(subject: Subject) -> Iterator[Violation]:
    """Supported regions are run; refused ones are not emitted as something else; questions have no effect."""
    subject.require_usable()
    for program in subject.programs:
        yield from _steadiness(subject, program)
    for sample in subject.samples:
        yield from _runs(subject, sample)
    for program, _, graph in subject.graphs:
        yield from _refused(subject, program, graph)


def _runs(subject: Subject, sample: Sample) -> Iterator[Violation]:
    before = _Snapshot.of(sample.region.graph)
    kernel = subject.kernel(sample)
    if isinstance(kernel, Broken):
        rule = "what `supports` takes must be emitted, compiled and run"
        remedy = "refuse it in `supports`, with the reason"
        yield violation(rule, f"{kernel.stage} failed: {kernel.reason}", remedy, str(sample))
    yield from _cost(subject, sample)
    if not before.is_of(sample.region.graph):
        yield _changed("emit", str(sample))


def _cost(subject: Subject, sample: Sample) -> Iterator[Violation]:
    rule = "`cost` must return None or Measured, with a time of 0 or more, for what is supported"
    try:
        cost = subject.backend.cost(sample.region)
    except Exception as error:
        yield violation(rule, said(error), "return None to have it timed", str(sample))
        return
    if cost is not None and not (isinstance(cost, Measured) and 0 <= cost.median_us < math.inf):
        yield violation(rule, repr(cost), "return None to have it timed", str(sample))


def _steadiness(subject: Subject, program: Program) -> Iterator[Violation]:
    """The same questions twice, of this graph and of an equal one traced anew."""
    where = program.case.name
    asked = {name: graph for name, graph in program.problem.graphs.items() if subject.proposals(graph)}
    again = problem_of(program.jaxpr, ()) if asked else program.problem
    for name, graph in asked.items():
        before = _Snapshot.of(graph)
        first, second = _answers(subject, graph), _answers(subject, graph)
        if not before.is_of(graph):
            yield _changed("propose` or `supports", where)
            continue
        anew = _answers(subject, again.graphs[name])
        for other, what in ((second, "asked a second time"), (anew, "asked about an equal graph")):
            for places in first.keys() | other.keys():
                if first.get(places, "not proposed") != other.get(places, "not proposed"):
                    ops = "+".join(graph.nodes[i].op for i in places)
                    got = f"{first.get(places, 'not proposed')}, then {other.get(places, 'not proposed')} {what}"
                    remedy = "decide by what the nodes do, not by which objects they are or how often it was asked"
                    yield violation("equal questions must have equal answers", got, remedy, f"{where}: {ops}")


def _answers(subject: Subject, graph: Graph) -> dict[tuple[int, ...], str]:
    """What is said of each region proposed, by its places."""
    found: dict[tuple[int, ...], str] = {}
    for proposal in subject.proposals(graph):
        region = Region.of(graph, proposal.nodes)
        refused = subject.refused(graph, proposal)
        reason = getattr(refused, "reason", refused)  # the check of refusals reports what is no reason
        found.setdefault(region.indices, "supported" if refused is None else f"refused ({reason})")
    return found


def _refused(subject: Subject, program: Program, graph: Graph) -> Iterator[Violation]:
    """``emit`` on what ``supports`` refuses, traced only: it may crash when it runs, and that may be why."""
    asked = [Region.of(graph, p.nodes) for p in subject.proposals(graph)]
    if subject.strict:
        asked += subject.unproposed(graph)
    for region in asked:
        if not region.is_convex or any(node.barrier for node in region.nodes) or _supports(subject, region):
            continue
        where = f"{program.case.name}: {'+'.join(region.ops)}"
        try:
            made = jax.eval_shape(subject.backend.emit(region), *forms(region.entries))
        except Exception:  # as it should
            continue
        wanted = [(v.shape, v.dtype) for v in region.exits]
        if [(a.shape, a.dtype) for a in outputs(made)] != wanted:
            given = ", ".join(f"{a.dtype}{list(a.shape)}" for a in outputs(made))
            got = f"{given} for {', '.join(map(repr, region.exits))}"
            yield violation("`emit` must not serve otherwise what `supports` refuses", got, "raise ValueError", where)
        elif subject.strict:
            rule = "`emit` must not serve what `supports` refuses"
            yield violation(rule, "a callable", "raise ValueError with the reason, or support it", where)


def _supports(subject: Subject, region: Region) -> bool:
    try:
        return subject.backend.supports(region) is None
    except Exception:  # the check of refusals reports it
        return False


def _changed(method: str, where: str) -> Violation:
    rule = "a backend must not change the graphs and regions that it is given"
    return violation(rule, f"another graph after `{method}`", "copy what it wants to change: dict(node.params)", where)


@dataclass(frozen=True, eq=False)
class _Snapshot:
    """What could be changed in a graph."""

    nodes: tuple[Node, ...]
    params: tuple[Mapping[str, Any], ...]
    key: str

    @classmethod
    def of(cls, graph: Graph) -> _Snapshot:
        return cls(graph.nodes, tuple(dict(node.params) for node in graph.nodes), graph_key(graph))

    def is_of(self, graph: Graph) -> bool:
        """True if ``graph`` is still as it was."""
        if self.nodes != graph.nodes or self.key != graph_key(graph):
            return False
        # By identity: parameters may be arrays, which have no truth value when compared.
        pairs = zip(self.params, (node.params for node in graph.nodes), strict=True)
        return all(a.keys() == b.keys() and all(a[k] is b[k] for k in a) for a, b in pairs)
