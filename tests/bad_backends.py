"""Backends that go wrong in every way there is; all want matrix products."""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any

import jax
import jax.numpy as jnp

from collage_jax import Backend, Unsupported
from collage_jax.patterns import Pattern, any_, op


class Bad(Backend):
    """Right, until a subclass spoils it."""

    patterns = (Pattern("product", op("dot_general")(any_("x"), any_("w"))),)

    def emit(self, region: Any) -> Any:
        return lambda x, w: x @ w


def outside(run: Any) -> Any:
    """A callable that runs ``run`` in the middle of the compiled program."""
    return lambda x, w: jax.pure_callback(run, jax.ShapeDtypeStruct((x.shape[0], w.shape[1]), x.dtype), x, w)


def crash(*_: Any) -> None:
    ctypes.string_at(0)


def sleep(*_: Any) -> None:
    time.sleep(1e6)


class Wrong(Bad):
    name = "wrong"

    def emit(self, region: Any) -> Any:
        return lambda x, w: x @ w + 1


class Raises(Bad):
    name = "raises"

    def emit(self, region: Any) -> Any:
        raise RuntimeError("emit went wrong")


class LeaksNan(Bad):
    name = "leaks-nan"

    def emit(self, region: Any) -> Any:
        return lambda x, w: jnp.where(jnp.arange(w.shape[1]) == 0, jnp.nan, x @ w)


class Segfaults(Bad):
    name = "segfaults"

    def emit(self, region: Any) -> Any:
        return outside(crash)


class SegfaultsAtEmit(Bad):
    name = "segfaults-at-emit"

    def emit(self, region: Any) -> Any:
        crash()


class SegfaultsAtPropose(Bad):
    name = "segfaults-at-propose"

    def propose(self, graph: Any) -> Any:
        crash()
        return ()


class Sleeps(Bad):
    name = "sleeps"

    def emit(self, region: Any) -> Any:
        return outside(sleep)


class Exits(Bad):
    name = "exits"

    def emit(self, region: Any) -> Any:
        return outside(lambda *_: os._exit(3))


class Refuses(Bad):
    name = "refuses"

    def supports(self, region: Any) -> Unsupported:
        return Unsupported("not today")


#: Each with a part of the reason that ``explain`` must give.
EVERY = {
    Wrong: "differs from XLA",
    Raises: "emit went wrong",
    LeaksNan: "differs from XLA by inf",
    Segfaults: "SIGSEGV",
    SegfaultsAtEmit: "SIGSEGV",
    SegfaultsAtPropose: "SIGSEGV",
    Sleeps: "stopped after",
    Exits: "status 3",
    Refuses: "not today",
}
