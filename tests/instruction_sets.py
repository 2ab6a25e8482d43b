"""Which instruction sets this processor has, asked of the system and not of the kernels under test."""

from __future__ import annotations

from pathlib import Path

import pytest

ISAS = {"avx512": {"avx512f"}, "avx2": {"avx2", "fma"}}


def skip_without(isa: str) -> None:
    """Skips the test where the processor lacks ``isa``."""
    flags = set(Path("/proc/cpuinfo").read_text(encoding="utf8").split())
    if not ISAS[isa] <= flags:
        pytest.skip(f"this processor has no {isa}")
