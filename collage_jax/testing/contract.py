"""The contract suite: as a class of tests, and as one call."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from ..backends.base import Backend
from .case import Case
from .checks import CHECKS
from .effort import Effort, effort_of
from .findings import ContractViolation, Report, Skipped, Violation
from .subject import Subject


class BackendContract:
    """Tests that any backend must pass: ``backend_contract`` makes a class of them.

    Or derive from it and set ``backend``, ``cases``, ``effort`` and ``strict`` as ``backend_contract`` takes them.
    Tests without pytest too: each method raises ``ContractViolation`` or, where a check cannot be made here,
    ``unittest.SkipTest``. What they share is computed once for a class.
    """

    backend: ClassVar[Backend]
    cases: ClassVar[Sequence[Case]] = ()
    effort: ClassVar[str | Effort] = "normal"
    strict: ClassVar[bool] = False
    _subject: ClassVar[Subject | None] = None

    def test_describes_itself(self) -> None:
        """``name``, ``kind``, ``platforms``, ``available()`` and ``version()`` are valid and the same each time."""
        self._check("description")

    def test_refuses_with_reasons(self) -> None:
        """``propose`` and ``supports`` answer whatever they are asked, refusals with reasons, and never raise."""
        self._check("refusals")

    def test_finds_a_region_in_each_case(self) -> None:
        """Every case has a region that is proposed and supported."""
        self._check("cases")

    def test_supports_is_honest(self) -> None:
        """What is supported is emitted, compiled and run; the same question has the same answer; nothing is changed."""
        self._check("honesty")

    def test_matches_xla(self) -> None:
        """Shapes, dtypes and numbers are XLA's on several distributions; NaN and infinities stand where XLA's do."""
        self._check("agreement")

    def test_is_deterministic(self) -> None:
        """The same inputs give the same bits, again and from a second ``emit``."""
        self._check("determinism")

    def test_is_thread_safe(self) -> None:
        """Threads emit, compile and run at once."""
        self._check("threads")

    def test_frozen_operands(self) -> None:
        """``emit_frozen`` computes the same for every choice of frozen operands."""
        self._check("frozen")

    def test_transformations(self) -> None:
        """``jit``, loops, ``vmap`` and ``grad`` do around a placed function what they do around ``jax.jit``."""
        self._check("transformations")

    def test_can_be_exported(self) -> None:
        """``jax.export`` of a function with the kernels keeps working."""
        self._check("export")

    def test_is_the_same_in_another_process(self) -> None:
        """A lowered program holds nothing that only one process has."""
        self._check("processes")

    def test_is_right_from_the_compilation_cache(self) -> None:
        """A program found in JAX's persistent compilation cache gives the same bits."""
        self._check("cache")

    @classmethod
    def _check(cls, name: str) -> None:
        if cls.__dict__.get("_subject") is None:
            cls._subject = Subject(cls.backend, cls.cases, effort_of(cls.effort), cls.strict)
        assert cls._subject is not None
        found = list(CHECKS[name](cls._subject))
        if found:
            raise ContractViolation(cls.backend.name, found)


def backend_contract(
    backend: Backend, cases: Sequence[Case] = (), *, effort: str | Effort = "normal", strict: bool = False
) -> type[BackendContract]:
    """A class of tests for ``backend``: ``TestMine = backend_contract(Mine(), [case(fun, *args), ...])``.

    ``cases`` are functions in which it should find something; many standard programs are tried besides. ``effort`` is
    ``"quick"``, ``"normal"`` or ``"thorough"``. ``strict`` holds the backend to every region that ``supports`` says
    yes to, those included that it would never propose, and lets ``emit`` serve no other.
    """
    held = {"backend": backend, "cases": tuple(cases), "effort": effort_of(effort), "strict": strict}
    name = "Test" + re.sub(r"\W|_", " ", backend.name).title().replace(" ", "")
    return type(name, (BackendContract,), {**held, "__doc__": f"The contract of the backend {backend.name!r}."})


def check_backend(
    backend: Backend, cases: Sequence[Case] = (), *, effort: str | Effort = "normal", strict: bool = False
) -> Report:
    """Make all checks, with arguments as for ``backend_contract``; ``ContractViolation`` says all that is wrong."""
    if not isinstance(backend, Backend):
        raise TypeError(f"`backend` must be an instance of collage_jax.Backend, got {backend!r}; make one and pass it")
    return check_subject(Subject(backend, cases, effort_of(effort), strict))


def check_subject(subject: Subject) -> Report:
    """As ``check_backend``."""
    found: list[Violation] = []
    passed: list[str] = []
    skipped: dict[str, str] = {}
    for name, check in CHECKS.items():
        try:
            broken = list(check(subject))
        except Skipped as why:
            skipped[name] = str(why)
            continue
        found += broken
        passed += [] if broken else [name]
    if found:
        raise ContractViolation(subject.backend.name, found)
    ran = tuple(map(str, subject.working)) if "agreement" in passed else ()
    return Report(subject.backend.name, tuple(passed), skipped, ran)
