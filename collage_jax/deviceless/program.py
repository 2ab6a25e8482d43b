"""A program lowered for a GPU that is not here, and compiled where XLA's compiler for GPUs is installed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
from jax import export

from .. import _compat
from ..gpu.device import GpuDevice
from ..gpu.xla_target import sharding_on, why_not
from ..target import aiming_at

_IN_HLO = re.compile(r'custom_call_target="([^"]+)"')
_IN_STABLEHLO = re.compile(r'stablehlo\.custom_call @(?:"([^"]+)"|([\w$.-]+))')


@dataclass(frozen=True)
class Donated:
    """Positions and names of arguments."""

    nums: tuple[int, ...] = ()
    names: tuple[str, ...] = ()


NOTHING = Donated()


class GpuProgram:
    """``fun(*args, **kwargs)`` for ``device``, to be read and handed on, not run; the arguments are trees of arrays.

    ``donated``: positions and names of those whose memory the results may take, as ``jax.jit`` has them.
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        device: GpuDevice,
        donated: Donated = NOTHING,
    ) -> None:
        self._device = device
        self._fun = fun
        self._donate: dict[str, Any] = {"donate_argnums": donated.nums, "donate_argnames": donated.names}
        self._args, self._kwargs = _shapes((tuple(args), dict(kwargs)))
        sharding = None if why_not() else sharding_on(device)
        there_args, there_kwargs = _shapes((self._args, self._kwargs), sharding)
        jitted = jax.jit(fun, out_shardings=sharding, **self._donate)
        with aiming_at(device):
            traced = jitted.trace(*there_args, **there_kwargs)
            self._lowered = traced.lower(lowering_platforms=("cuda",)) if sharding is None else traced.lower()
        self.result = jax.tree.unflatten(traced.out_tree, map(shape_of, traced.jaxpr.out_avals))

    @property
    def stage(self) -> str:
        """What ``as_text`` gives, ``"hlo"`` as optimised for the GPU, or ``"stablehlo"`` where nothing compiles it."""
        return "stablehlo" if why_not() else "hlo"

    def compile(self) -> Any:
        """JAX's compiled program, which runs nowhere here.

        Raises ``RuntimeError`` naming the wheels where XLA's compiler for CUDA is missing.
        """
        return self._compiled

    @cached_property
    def _compiled(self) -> Any:
        if (reason := why_not()) is not None:
            raise RuntimeError(reason)
        with aiming_at(self._device):
            return self._lowered.compile()

    def stablehlo(self) -> str:
        """The program as XLA is given it, lowered for CUDA."""
        return self._lowered.as_text()

    def as_text(self) -> str:
        """The program in the form that ``stage`` names."""
        return self.stablehlo() if why_not() else self._compiled.as_text()

    def custom_calls(self) -> dict[str, int]:
        """How often ``as_text`` calls each foreign function, by target; XLA's own calls of libraries too."""
        return _targets(self.as_text())

    @property
    def memory(self) -> Any:
        """What XLA says of the memory that the program takes on the GPU; None where nothing compiles it."""
        return None if why_not() else self._compiled.memory_analysis()

    def export(self) -> bytes:
        """The program for CUDA as ``jax.export`` serialises it.

        Who runs it needs this package with the same backends: their calls are in it by name, each with all it needs.
        """
        calls = [export.DisabledSafetyCheck.custom_call(target) for target in _targets(self.stablehlo())]
        with aiming_at(self._device):
            exported = export.export(jax.jit(self._fun, **self._donate), platforms=["cuda"], disabled_checks=calls)
            return bytes(exported(*self._args, **self._kwargs).serialize())


def shape_of(aval: Any, sharding: Any = None) -> jax.ShapeDtypeStruct:
    """What stands for an array of the type ``aval`` where there is none."""
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, sharding=sharding, weak_type=aval.weak_type)


def _shapes(tree: Any, sharding: Any = None) -> Any:
    return jax.tree.map(lambda leaf: shape_of(_compat.typeof(leaf), sharding), tree)


def _targets(text: str) -> dict[str, int]:
    found = _IN_HLO.findall(text) or [quoted or plain for quoted, plain in _IN_STABLEHLO.findall(text)]
    return dict(Counter(found).most_common())
