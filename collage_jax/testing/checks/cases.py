"""A backend finds something in each case that its author gave, and something was tested at all."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ..findings import Violation
from ..samples import Program
from ..subject import Subject

violation = partial(Violation, "cases")


def check_cases(subject: Subject) -> Iterator[Violation]:
    """Each case has a region that is proposed and supported."""
    subject.require_usable()
    served = {sample.program for sample in subject.supported if sample.label != "not proposed"}
    for program in subject.programs:
        if program.own and program not in served:
            yield violation(
                "the backend must propose and support a region of each case",
                _why_none(subject, program),
                "correct the pattern or `supports`, or leave the case out",
                f"{program.case.name} at {_forms(program)}",
            )
    if not subject.supported:
        yield violation(
            "the backend must run some region",
            "none in any program",
            "give cases in which it should: case(function, *arguments)",
        )


def _why_none(subject: Subject, program: Program) -> str:
    reasons: dict[str, None] = {}
    for graph in program.problem.graphs.values():
        for proposal in subject.proposals(graph):
            refused = subject.refused(graph, proposal)
            if refused is not None:
                reasons[f"{proposal.label}: {refused.reason}"] = None
    ops = ", ".join(node.op for graph in program.problem.graphs.values() for node in graph.nodes)
    return f"refusals only: {'; '.join(reasons)}" if reasons else f"no proposal among the operations {ops}"


def _forms(program: Program) -> str:
    return ", ".join(map(str, program.jaxpr.in_avals)) or "no arguments"
