"""Messages between two processes over a socket: a length, then that many bytes."""

from __future__ import annotations

import select
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from . import transfer

_LENGTH = struct.Struct("=Q")


class Closed(Exception):
    """The other process is gone."""


class Channel:
    """One end of a connection. An interrupt waits until a message that was begun is through."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def send(self, message: Any) -> None:
        """Send ``message``; raises ``transfer.NotPortable`` before anything is sent, ``Closed`` if nobody listens."""
        self.send_bytes(transfer.dumps(message))

    def send_bytes(self, data: bytes) -> None:
        """Send what ``transfer.dumps`` made."""
        with _uninterrupted():
            try:
                self._socket.sendall(_LENGTH.pack(len(data)))
                self._socket.sendall(data)
            except OSError as error:
                raise Closed from error

    def receive(self) -> Any:
        """The next message, waited for."""
        select.select([self._socket], [], [])  # outside the block: waiting can be interrupted
        with _uninterrupted():
            return transfer.loads(self._read(*_LENGTH.unpack(self._read(_LENGTH.size))))

    def is_ready(self, seconds: float) -> bool:
        """True if a message, or the end, is there within ``seconds``."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def close(self) -> None:
        self._socket.close()

    def _read(self, count: int) -> bytes:
        data = bytearray(count)
        view = memoryview(data)
        while view:
            try:
                got = self._socket.recv_into(view)
            except OSError as error:
                raise Closed from error
            if not got:
                raise Closed
            view = view[got:]
        return bytes(data)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C in this thread for the block."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
