"""A backend proposes what is there, and refuses with reasons: whatever it is asked about, it answers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ...backends.base import Proposal, Unsupported
from ...graph.ir import Graph
from ...graph.region import Region
from ..findings import Violation, said
from ..subject import Subject

violation = partial(Violation, "refusals")

ANSWER = "`supports` must return None or Unsupported(reason) for any region"


def check_refusals(subject: Subject) -> Iterator[Violation]:
    """``propose``, ``takes`` and ``supports`` on every graph, every node and random regions."""
    subject.require_usable()
    for program, _, graph in subject.graphs:
        where = program.case.name
        yield from _proposals(subject, graph, where)
        if subject.backend.kind == "graph-runtime":
            yield from _takes(subject, graph, where)
        proposed = [Region.of(graph, p.nodes) for p in subject.proposals(graph)]
        for region in [*proposed, *subject.unproposed(graph)]:
            yield from _answer(subject, region, f"{where}: {'+'.join(region.ops)}")


def _proposals(subject: Subject, graph: Graph, where: str) -> Iterator[Violation]:
    try:
        proposals = list(subject.backend.propose(graph))
    except Exception as error:
        remedy = "leave out what it does not understand; conditions of patterns must hold for any match"
        yield violation("`propose` must not raise", said(error), remedy, where)
        return
    for proposal in proposals:
        if not isinstance(proposal, Proposal):
            yield violation("`propose` must give Proposals", repr(proposal), "write Proposal(nodes, label)", where)
            continue
        if not proposal.nodes or not all(node in graph.position for node in proposal.nodes):
            got = f"{proposal.nodes} for {proposal.label!r}"
            yield violation("a proposal must hold nodes of the graph in question", got, "take graph.nodes", where)
        if not isinstance(proposal.label, str) or not proposal.label.strip():
            remedy = "name the pattern that matched: the report shows it"
            yield violation("a proposal must have a label", repr(proposal.label), remedy, where)
        if proposal.refused is not None and not _is_reason(proposal.refused):
            got = repr(proposal.refused)
            yield violation("`refused` must be None or Unsupported(reason)", got, "say why it cannot be run", where)


def _takes(subject: Subject, graph: Graph, where: str) -> Iterator[Violation]:
    rule = "`takes` must return True, None, False or Unsupported(reason) for any node"
    for node in graph.nodes:
        try:
            answer = subject.backend.takes(node)
        except Exception as error:
            remedy = "return Unsupported(reason) for what it does not know"
            yield violation(rule, said(error), remedy, f"{where}: {node}")
            continue
        if answer is not None and not isinstance(answer, bool) and not _is_reason(answer):
            yield violation(rule, repr(answer), "say why it does not run the node", f"{where}: {node}")


def _answer(subject: Subject, region: Region, where: str) -> Iterator[Violation]:
    try:
        answer = subject.backend.supports(region)
    except Exception as error:
        yield violation(ANSWER, said(error), "return Unsupported(reason) for what it does not know", where)
        return
    if answer is not None and not _is_reason(answer):
        yield violation(ANSWER, repr(answer), "say why in words: the report shows it", where)


def _is_reason(answer: object) -> bool:
    return isinstance(answer, Unsupported) and isinstance(answer.reason, str) and bool(answer.reason.strip())
