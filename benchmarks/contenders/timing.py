"""How long a contender's function takes, where it has to choose between two."""

import time
from collections.abc import Callable
from typing import Any


def seconds(call: Callable[[], Any], calls: int = 3) -> float:
    """Of some calls together, after one that does not count."""
    call()
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - start
