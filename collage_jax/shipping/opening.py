"""One signature of a file: which of its programs runs here, and what that holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn

import jax
import jax.export

from .. import _compat
from ..costs import told
from ..log import LOG
from ..placement import Placement
from ..report.files import from_json
from .archive import Archive
from .arrays import decode
from .fitting import switched_off, why_not
from .loaded import Entrance
from .manifest import Signature
from .programs import PLATFORM
from .targets import callable_targets


class Arrays:
    """The arrays of a file by number, each read once."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._known: dict[int, jax.Array] = {}

    def __call__(self, number: int) -> jax.Array:
        if number not in self._known:
            spec = self._archive.manifest.arrays[number]
            fail = partial(_fail, self._archive, spec.file)
            self._known[number] = decode(spec, self._archive.member(spec.file), fail)
        return self._known[number]


@dataclass(frozen=True, eq=False)
class Opening:
    """``signature`` of a file; ``frozen`` arguments come with it if they are not in there."""

    archive: Archive
    signature: Signature
    arrays: Arrays
    frozen: tuple[Any, ...]

    def entrance(self, excluded: str | None, plain: bool) -> tuple[Entrance, str | None]:
        """How to call it, and why its kernels cannot run here; None if they do, or if nobody wants them.

        ``excluded`` is such a reason, found before; ``plain`` leaves them out without one.
        """
        text = self.archive.member(self.signature.placement)
        placement = from_json(text.decode("utf8", "replace"))
        if self.signature.placed is None:
            return self._plain(placement), None
        off = "switched off" if plain else switched_off(placement)
        problem = None if off else excluded or why_not(self.signature)
        if off is None and problem is None:
            return self._placed(placement), None
        if self.signature.plain is None:
            self.archive.fail(f"its kernels cannot run here and it has no fallback ({off or problem})")
        if off is not None:
            LOG.info("%s: loaded to run by XLA alone: %s", self.archive.manifest.name, off)
        return replace(self._plain(placement), why_plain=off or problem), problem

    def _plain(self, placement: Placement) -> Entrance:
        program = self._program(self.signature.plain)
        held = self._fitting(program) if self.signature.frozen is None else self._stored(self.signature.frozen)
        has_derivatives = self.archive.manifest.vjp_order > 0
        return Entrance(program, program.call if has_derivatives else _refusing(program), held, placement, False)

    def _placed(self, placement: Placement) -> Entrance:
        program = self._program(self.signature.placed)
        if self.signature.prepare is None:
            packed = self._stored(self.signature.packed)
        else:
            prepare = self._program(self.signature.prepare)
            packed = jax.block_until_ready(jax.jit(prepare.call)(self._fitting(prepare)))
        if self.archive.manifest.vjp_order == 0:
            return Entrance(program, _refusing(program), packed, placement, True)
        plain = self._plain(placement)
        return Entrance(program, _differentiated(program, plain.exported), (packed, plain.held), placement, True)

    def _stored(self, numbers: tuple[int, ...] | None) -> list[Any]:
        return [self.arrays(number) for number in numbers or ()]

    def _program(self, name: str | None) -> jax.export.Exported:
        """The program in the member ``name``, which calls nothing but what it may."""
        assert name is not None
        try:
            program = jax.export.deserialize(bytearray(self.archive.member(name)))
            calls = _compat.custom_calls(program)
        except ImportError:
            raise
        except Exception as error:
            self.archive.fail(f"{name} must be a program that jax {jax.__version__} reads ({told(error)})")
        if unknown := sorted(calls - callable_targets()):
            self.archive.fail(f"{name} must call what is registered here alone, it calls {', '.join(unknown)}")
        if program.platforms != (PLATFORM,):
            self.archive.fail(f"{name} must be for {PLATFORM} alone, it is for {', '.join(program.platforms)}")
        return program

    def _fitting(self, program: jax.export.Exported) -> tuple[Any, ...]:
        """The frozen arguments that were given, if they are such as ``program`` takes first."""
        first, *_ = jax.tree.unflatten(program.in_tree, program.in_avals)[0]
        leaves, tree = jax.tree.flatten(self.frozen)
        wanted, wanted_tree = jax.tree.flatten(first)
        if tree != wanted_tree:
            raise TypeError(f"frozen arguments must have the structure {wanted_tree}, got {tree}; pass those it had")
        for place, (leaf, aval) in enumerate(zip(leaves, wanted, strict=True)):
            found = _compat.typeof(leaf)
            if (found.shape, found.dtype) != (aval.shape, aval.dtype):
                raise TypeError(
                    f"array {place} of the frozen arguments must be {aval.str_short()}, got {found.str_short()}; pass "
                    "arrays like those that the function was exported with"
                )
        return self.frozen


def _fail(archive: Archive, name: str, rule: str) -> NoReturn:
    archive.fail(f"{name} must be {rule}")


def _refusing(program: jax.export.Exported) -> Callable[..., Any]:
    """``program``, which says so where it is differentiated."""

    def forward(*_: Any) -> Any:
        raise ValueError(
            f"{program.fun_name} must have been exported with its derivatives to be differentiated, and was not; "
            "export it with vjp_order=1, or as high as it is differentiated"
        )

    return _custom(program, forward, lambda *_: None)


def _differentiated(program: jax.export.Exported, plain: jax.export.Exported) -> Callable[..., Any]:
    """``program``, with the derivatives of ``plain``; both hold what they want, as a pair."""

    def forward(held: Any, args: Any, kwargs: Any) -> Any:
        return jax.vjp(lambda held, args, kwargs: plain.call(held, *args, **kwargs), held[1], args, kwargs)

    def backward(pull: Any, cotangents: Any) -> Any:
        of_held, *others = pull(cotangents)
        return (None, of_held), *others

    return _custom(program, forward, backward, lambda held: held[0])


def _custom(
    program: jax.export.Exported,
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    mine: Callable[[Any], Any] = lambda held: held,
) -> Callable[..., Any]:
    @jax.custom_vjp
    def run(held: Any, args: Any, kwargs: Any) -> Any:
        return program.call(mine(held), *args, **kwargs)

    run.defvjp(forward, backward)
    return lambda held, /, *args, **kwargs: run(held, args, kwargs)
