"""A program by ``jax.jit`` and by ``collage_jax.jit``, and what became of it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..api import jit
from ..candidates import XLA
from ..costs import told
from ..store import using
from .costs import DrawnCosts
from .data import drawn
from .diagnosis import culprits
from .judging import difference
from .program import NAMES, Argument, Options, Part, Program, function_of

#: What comes of a program. ``refused``: ``jax.jit`` raises too.
AGREES, REFUSED, DIFFERS, RAISES, UNBUILT, CRASHES, HANGS = (
    "agrees", "refused", "differs", "raises", "unbuilt", "crashes", "hangs",
)  # fmt: skip
WRONG = frozenset({DIFFERS, RAISES, UNBUILT, CRASHES, HANGS})


@dataclass(frozen=True)
class Outcome:
    """``verdict`` is one of those above, ``why`` says more. ``kernels`` counts what ran by backend."""

    verdict: str
    why: str = ""
    part: int | None = None
    kernels: Counter[str] = field(default_factory=Counter)

    @property
    def is_wrong(self) -> bool:
        return self.verdict in WRONG


def outcomes(program: Program) -> list[tuple[Program, Outcome]]:
    """Run ``program`` both ways and compare; part by part where ``jax.jit`` refuses a part, or one is wrong."""
    found = outcome(program)
    if len(program.parts) == 1 or not (found.is_wrong or found.verdict == REFUSED):
        return [(program, found)]
    alone = [(each, outcome(each)) for each in map(program.only, range(len(program.parts)))]
    return alone if found.verdict == REFUSED or any(o.is_wrong for _, o in alone) else [(program, found)]


def outcome(program: Program) -> Outcome:
    """Run ``program`` both ways and compare."""
    costs = DrawnCosts(program.options.costs, runtimes=_runs_runtimes(program))
    with jax.enable_x64(program.options.x64), warnings.catch_warnings(), using(costs):
        warnings.simplefilter("ignore")
        return _Run(program).outcome()


def _runs_runtimes(program: Program) -> bool:
    """Graph runtimes do not promise that NaN comes out where it has to."""
    return all(a.data != "special" for a in program.arguments)


class _Run:
    def __init__(self, program: Program) -> None:
        self._program, self._options = program, program.options
        self._function = function_of(program.text)
        self._loose = [a for a in program.arguments if a.name not in self._options.packed]

    def outcome(self) -> Outcome:
        arguments = self._arguments(0)
        reference = self._transformed(jax.jit(self._function, static_argnums=self._static), arguments)
        try:
            wanted = jax.block_until_ready(reference(*arguments))
        except Exception as error:
            return Outcome(REFUSED, told(error))
        numbers = {a.name: i for i, a in enumerate(self._loose)}
        placed = jit(
            self._function,
            tune="cached",
            backends=self._options.backends,
            frozen_argnums=tuple(numbers[n] for n in self._options.frozen),
            donate_argnums=tuple(numbers[n] for n in self._options.donated),
            static_argnums=self._static,
        )
        kernels: Counter[str] = Counter()
        self._placed = placed
        try:
            if not self._options.around:
                placement = placed.placement(*arguments)
                kernels.update({n: c for n, c in placement.counts().items() if n != XLA})
                unbuilt = [note for note in placement.notes if "could not be built" in note]
                if unbuilt:
                    return Outcome(UNBUILT, "; ".join(unbuilt), kernels=kernels)
            called = self._transformed(placed, arguments)
            first = jax.block_until_ready(called(*self._own(arguments)))
            second = jax.block_until_ready(called(*self._own(arguments)))
        except Exception as error:
            return Outcome(RAISES, told(error), kernels=kernels)
        for got in (first, second):
            found = self._compared(got, wanted, arguments, kernels)
            if found is not None:
                return found
        if self._options.frozen:
            return self._with_others(called, reference, kernels)
        return Outcome(AGREES, kernels=kernels)

    def _with_others(self, called: Callable[..., Any], reference: Callable[..., Any], kernels: Counter[str]) -> Outcome:
        """Other frozen arguments than at first."""
        arguments = self._arguments(1)
        wanted = jax.block_until_ready(reference(*arguments))
        try:
            got = jax.block_until_ready(called(*self._own(arguments)))
        except Exception as error:
            return Outcome(RAISES, f"with other frozen arguments: {told(error)}", kernels=kernels)
        found = self._compared(got, wanted, arguments, kernels)
        return (
            Outcome(AGREES, kernels=kernels)
            if found is None
            else replace(found, why=f"with other frozen arguments: {found.why}")
        )

    def _compared(self, got: Any, wanted: Any, arguments: Sequence[Any], kernels: Counter[str]) -> Outcome | None:
        if jax.tree.structure(got) != jax.tree.structure(wanted):
            return Outcome(DIFFERS, "another structure of results", kernels=kernels)
        weak = [jax.tree.map(lambda a: getattr(a, "weak_type", None), tree) for tree in (got, wanted)]
        if weak[0] != weak[1]:
            return Outcome(DIFFERS, "weak types of results", kernels=kernels)
        if self._is_whole:
            dynamic = [a for i, a in enumerate(arguments) if i not in self._static]

            def whole(*given: Any) -> Any:
                rest = iter(given)
                full = [a if i in self._static else next(rest) for i, a in enumerate(arguments)]
                return self._transformed(self._function, arguments)(*full)

            pieces = [(0, whole, dynamic, got, wanted)]
        else:
            held = dict(zip((a.name for a in self._loose), arguments, strict=False)) | self._packed(arguments)
            pieces = [
                (i, function_of(self._alone(part).text), [held[a.name] for a in part.arguments], got[i], wanted[i])
                for i, part in enumerate(self._program.parts)
            ]
            if self._static and not np.array_equal(got[-1][0], wanted[-1][0]):
                return Outcome(DIFFERS, "what a static argument makes", kernels=kernels)
        for part, function, own, g, w in pieces:
            results = jax.tree.leaves(g), jax.tree.leaves(w)
            judged = partial(
                difference,
                *results,
                partial(jax.make_jaxpr(function), *own),
                jax.tree.leaves(own),
                runtimes=_runs_runtimes(self._program),
            )
            found = judged()
            if found is not None:
                wrong = self._culprits(arguments)
                # What XLA's own roundings may do is no excuse for a kernel that is wrong by itself.
                if not wrong and judged(by_reader=True) is None:
                    continue
                why = f"result {found.output}: {found.what}; {found.error:.3g} apart, {found.allowed:.3g} allowed"
                return Outcome(DIFFERS, f"{why}{wrong}", part, kernels)
        return None

    def _culprits(self, arguments: Sequence[Any]) -> str:
        """The kernels that are wrong by themselves, if any is."""
        if self._options.around:
            return ""
        traced = jax.jit(self._function, static_argnums=self._static).trace(*arguments)
        leaves = jax.tree.leaves([a for i, a in enumerate(arguments) if i not in self._static])
        numbers = [i for i, a in enumerate(self._loose) if a.name in self._options.frozen]
        try:
            found = list(culprits(traced.jaxpr, numbers, leaves, self._placed.placement(*arguments)))
        except Exception as error:
            found = [f"which kernel it is cannot be told: {told(error)}"]
        return "".join(f"\n{line}" for line in found)

    @property
    def _is_whole(self) -> bool:
        """True if the program is judged as one."""
        return bool(self._options.around or self._program.source)

    def _alone(self, part: Part) -> Program:
        return Program((part,), Options())

    def _packed(self, arguments: Sequence[Any]) -> dict[str, Any]:
        return arguments[len(self._loose)] if self._options.packed else {}

    @property
    def _static(self) -> tuple[int, ...]:
        return () if self._options.static is None else (len(self._loose) + bool(self._options.packed),)

    def _arguments(self, shift: int) -> list[Any]:
        """What the program is called with; ``shift`` draws other numbers for frozen arguments."""
        held = {a.name: drawn(self._shifted(a, shift)) for a in self._program.arguments}
        arguments: list[Any] = [held[a.name] for a in self._loose]
        if self._options.packed:
            arguments.append({name: held[name] for name in self._options.packed})
        return arguments if self._options.static is None else [*arguments, self._options.static]

    def _shifted(self, argument: Argument, shift: int) -> Argument:
        return replace(argument, seed=argument.seed + shift) if argument.name in self._options.frozen else argument

    def _own(self, arguments: Sequence[Any]) -> list[Any]:
        """``arguments`` with copies of what is donated."""
        donated = {i for i, a in enumerate(self._loose) if a.name in self._options.donated}
        return [jax.device_put(np.array(a)) if i in donated else a for i, a in enumerate(arguments)]

    def _transformed(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Callable[..., Any]:
        if not self._options.around:
            return function
        floats = tuple(i for i, a in enumerate(arguments) if jnp.issubdtype(jnp.result_type(a), jnp.floating))
        text = self._options.around.replace("FLOATS", repr(floats))
        return eval(text.format(f="function"), {**NAMES, "function": function})
