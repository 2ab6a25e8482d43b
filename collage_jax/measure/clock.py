"""What takes the time of calls: the host's clock, or a GPU's own.

By the host's clock a kernel of a few microseconds takes the tens that the host needs to start it. So programs for an
NVIDIA GPU are timed by events that the GPU records on the stream of the program, at ``marks`` compiled into it. All
that is compared is timed by the same clock, in the same rounds (``race``), for a GPU's frequency drifts as well.

Before each run of a kernel alone, more memory is written than the GPU's L2 cache holds: it would find there what it
left a moment ago, and in a program that has long been replaced. While this lasts, the host puts the rest on the stream,
so that nothing between the marks waits for the host. In whole programs kernels find what they find, and wait as they
do: what is timed begins when the host begins to start kernels.

None of this has run on a GPU.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp

from .. import device, target
from ..config import config
from ..ffi import native
from ..gpu.device import GpuDevice
from .marks import marked, misplaced

#: What the host needs at most to put a region on the stream, in seconds.
HEAD_START_S = 5e-5
#: Calls of a block that a GPU times one by one; more would only leave time for fewer rounds.
MOST_REPEATS = 5

Function: TypeAlias = Callable[..., Any]


class Clock(Protocol):
    """Takes the time of calls of compiled functions."""

    def marked(self, function: Function) -> Function:
        """What to compile for ``function`` to be timed."""
        ...

    def results(self, output: Any) -> Any:
        """What ``function`` gives where ``marked(function)`` gives ``output``."""
        ...

    def compiling(self, function: Function, lower: Callable[[Function], Callable[[], Any]]) -> Callable[[], Function]:
        """Compiles ``function`` to be timed, with its own results; ``lower(f)`` gives what compiles ``f``.

        What comes back raises ``RuntimeError`` if it cannot be timed.
        """
        ...

    def seconds(self, call: Callable[[], Any], repeats: int = 1) -> float:
        """Seconds per call over ``repeats`` calls in a row."""
        ...

    def idle(self, arguments: int) -> Callable[[], Any]:
        """A call with ``arguments`` small arrays that takes as little as any can."""
        ...


#: No call takes less, whatever a clock says that was set back meanwhile.
LEAST_S = 1e-9


def since(begin: float) -> float:
    """Seconds since ``begin``, of ``time.perf_counter``; ``LEAST_S`` or more."""
    return max(LEAST_S, time.perf_counter() - begin)


class HostClock:
    """The clock of the process, around calls whose results are waited for. Functions are compiled as they are."""

    def marked(self, function: Function) -> Function:
        return function

    def results(self, output: Any) -> Any:
        return output

    def compiling(self, function: Function, lower: Callable[[Function], Callable[[], Any]]) -> Callable[[], Function]:
        return lower(function)

    def seconds(self, call: Callable[[], Any], repeats: int = 1) -> float:
        start = time.perf_counter()
        result = None
        for _ in range(repeats):
            result = call()
        jax.block_until_ready(result)
        return since(start) / repeats

    def idle(self, arguments: int) -> Callable[[], Any]:
        small = [jnp.zeros((), jnp.float32)] * max(arguments, 1)
        nothing = jax.jit(lambda *arrays: arrays[0] + 1)
        return lambda: nothing(*small)


class DeviceClock:
    """A GPU's clock, read by the marks of timer number ``timer`` of ``module``, the extension ``_cuda``.

    ``flush_bytes`` are written before each run, 0 for none. One call at a time can be timed.
    """

    def __init__(self, module: ModuleType, timer: int, flush_bytes: int = 0) -> None:
        self._module, self._timer, self._flush_bytes = module, timer, flush_bytes

    def marked(self, function: Function) -> Function:
        return marked(function, self._timer, self._flush_bytes)

    def results(self, output: Any) -> Any:
        return output[0]

    def compiling(self, function: Function, lower: Callable[[Function], Callable[[], Any]]) -> Callable[[], Function]:
        ways = [marked(function, self._timer, self._flush_bytes, all_operands) for all_operands in (False, True)]
        lowered = [lower(way) for way in ways]  # now, for others compile on threads that may not trace

        def compile() -> Function:
            stray = None
            for compile_one in lowered:
                compiled = compile_one()
                if (stray := misplaced(compiled.as_text())) is None:
                    return lambda *operands: compiled(*operands)[0]
            raise RuntimeError(f"it cannot be timed: XLA put {stray} outside of the marks around it")

        return compile

    def seconds(self, call: Callable[[], Any], repeats: int = 1) -> float:
        """The median of as many calls, ``MOST_REPEATS`` at most, of which each is waited for."""
        took: list[float] = []
        for _ in range(min(repeats, MOST_REPEATS)):
            jax.block_until_ready(call())
            took.append(self._module.elapsed_us(self._timer))
        return statistics.median(took) / 1e6

    def idle(self, arguments: int) -> Callable[[], Any]:
        return jax.jit(self.marked(lambda: ()))


HOST = HostClock()

_numbers = itertools.count()


def for_regions() -> Clock:
    """The clock for kernels alone."""
    return _clock(target.current(), config.flush_l2, threading.get_ident())


def for_programs() -> Clock:
    """The clock for whole programs."""
    return _clock(target.current(), False, threading.get_ident())


@cache
def _clock(aim: target.Target, flush: bool, thread: int) -> Clock:
    """One for each thread: two that time at once must not share events."""
    module = _extension() if aim.gpu is not None and aim.is_here else None
    if module is None or aim.gpu is None:
        return HOST
    return DeviceClock(module, next(_numbers), flush_bytes(aim.gpu) if flush else 0)


@cache
def _extension() -> ModuleType | None:
    """What holds the marks, if it is there and there is a driver."""
    if device.cuda_driver() is None:
        return None
    module = native.extension("_cuda")
    native.register(module, "CUDA")
    return module


def flush_bytes(gpu: GpuDevice) -> int:
    """How much to write: twice the cache, since it does not forget in order, and for as long as the host needs."""
    return max(2 * gpu.l2_cache, int(HEAD_START_S * gpu.bandwidth))
