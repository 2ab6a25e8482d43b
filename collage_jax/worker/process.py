"""The worker as the caller sees it: a process that is started, watched and, if it must be, killed."""

from __future__ import annotations

import atexit
import signal
import socket
import subprocess
import sys
import tempfile
from typing import IO

import jax

from .. import spawn, watch
from ..config import config, unknown_variables
from .channel import Channel


class Process:
    """A worker process; ``channel`` leads to it, ``board`` shows what it is at."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process is
        self._file.truncate(watch.Board.BYTES)
        self.board = watch.Board(self._file.fileno())
        with theirs:
            numbers = theirs.fileno(), self._file.fileno()
            # Its own session: an interrupt at the keyboard reaches the caller alone. Its output goes with the errors.
            self._process = subprocess.Popen(
                spawn.command("collage_jax.worker.serve:serve", *map(str, numbers)),
                pass_fds=numbers,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=sys.__stderr__ if _has_file(sys.__stderr__) else subprocess.DEVNULL,
                start_new_session=True,
            )
        self.channel = Channel(ours)
        atexit.register(self.kill)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def interrupt(self) -> None:
        """Have it finish with what it has."""
        if self.is_alive:
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> str:
        """End it now; how it ended, in words."""
        atexit.unregister(self.kill)
        if self.is_alive:
            self._process.kill()
        self.channel.close()
        self._file.close()
        return _ending(self._process.wait())

    def wait(self) -> str:
        """Wait for it to end by itself, a second at most; how it ended, in words."""
        try:
            code = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return self.kill()
        self.kill()
        return _ending(code)


def _environment() -> dict[str, str]:
    """The caller's, with the platform it runs on; on a GPU memory is taken as it is needed, beside the caller's."""
    platform = {"gpu": "cuda,cpu", "tpu": "tpu,cpu"}.get(jax.default_backend(), jax.default_backend())
    added = {"JAX_PLATFORMS": platform, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    ours = {"JAX_ENABLE_COMPILATION_CACHE": "false", "COLLAGE_JAX_FLUSH_L2": "on" if config.flush_l2 else "off"}
    unknown = unknown_variables()  # they were warned of once
    return {**{n: value for n, value in spawn.environment().items() if n not in unknown}, **added, **ours}


def _has_file(stream: object) -> bool:
    try:
        stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False
    return True


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
