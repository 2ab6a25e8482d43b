"""The worker's side: jobs in, placements out, until the caller is gone or asks for nothing for long."""

from __future__ import annotations

import os
import signal
import socket
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace

import jax

from .. import _compat, watch
from ..backends import registry
from ..costs import Cost, CostKey
from ..problem import problem_of
from ..tuning.pinning import check
from ..tuning.stages import tune
from .channel import Channel, Closed
from .jobs import Ask, Done, Go, Job, Progress, Tell

#: A worker that nobody asks anything for so many seconds ends.
IDLE_S = 300.0


def serve(socket_number: str, board_number: str) -> None:
    """Work for the process at the other end of the socket; ``board_number`` is the file of the board."""
    _end_with_parent()
    channel = Channel(socket.socket(fileno=int(socket_number)))
    watch.use(watch.Board(int(board_number)))
    watch.listen(lambda what, done, total: channel.send(Progress(what, done, total)))
    try:
        while channel.is_ready(IDLE_S):
            try:
                _work(channel, channel.receive(), channel.receive())
            except KeyboardInterrupt:  # between jobs it is of no concern
                continue
    except Closed:
        pass
    os._exit(0)  # threads of a library that hangs would keep the process alive


def _work(channel: Channel, job: Job, go: Go) -> None:
    try:
        _compat.configure(dict(job.configuration))
        registry.adopt(dict(job.backends[0]), dict(job.backends[1]))
        reference = jax.jit(_compat.jaxpr_as_fun(job.program))
        settings = replace(job.settings, budget_s=max(0.0, go.deadline - time.monotonic()))
        given = job.arguments, lambda: reference(*job.arguments), settings
        problem = problem_of(job.program, job.frozen)
        if job.pinned is None:
            placement = tune(problem, *given, _RemoteStore(channel), go.barred)
        else:
            placement = check(job.pinned, problem, *given, go.barred)
        channel.send(Done(placement))
    except KeyboardInterrupt:
        channel.send(Done(None, "interrupted"))
    except Closed:
        raise
    except BaseException:
        channel.send(Done(None, traceback.format_exc()))
    finally:
        watch.announce(None)
        jax.clear_caches()


class _RemoteStore:
    """The caller's store of costs."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def get_many(self, keys: Sequence[CostKey]) -> dict[CostKey, Cost]:
        self._channel.send(Ask(tuple(keys)))
        return self._channel.receive()

    def put(self, key: CostKey, cost: Cost) -> None:
        self._channel.send(Tell(key, cost))


def _end_with_parent() -> None:
    """Interrupts come from the caller alone, which hears of those at the keyboard."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
