"""Jobs of several processes (``jax.distributed``): the first decides, the others do the same."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from .. import _compat

#: How much longer than the budget a process waits for the first one's decision, in seconds.
PATIENCE_S = 60.0


def is_follower() -> bool:
    """True in every process of a job but the first."""
    return _compat.process_number() > 0


def publish(key: str, decision: Callable[[], str]) -> None:
    """Let the other processes of the job, if there are any, know what was decided under ``key``."""
    client = _compat.coordinator()
    if client is not None:
        # Whom it does not reach goes on with XLA alone, and says so.
        with suppress(Exception):
            client.key_value_set(_name(key), decision(), allow_overwrite=True)


def await_decision(key: str, seconds: float) -> str:
    """What the first process decided under ``key``; raises ``TimeoutError`` if it did not within that time."""
    client = _compat.coordinator()
    try:
        return client.blocking_key_value_get(_name(key), int(1000 * seconds))
    except Exception as error:
        raise TimeoutError(f"the job's first process decided nothing within {seconds:g} s: {error}") from error


def _name(key: str) -> str:
    return f"collage_jax/decision/{key}"
