"""Which instruction sets this processor has, asked of the system and not of the kernels under test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

ISAS = {
    "avx512": {"avx512f"},
    "avx2": {"avx2", "fma"},
    "bfloat16 in oneDNN": {"avx512bw", "avx512vl", "avx512dq"},
}


def skip_without(isa: str) -> None:
    """Skips the test where the processor lacks ``isa``."""
    flags = set(Path("/proc/cpuinfo").read_text(encoding="utf8").split())
    if not ISAS[isa] <= flags:
        pytest.skip(f"this processor has no {isa}")


def skip_unless_onednn_takes(dtype: Any) -> None:
    """Skips the test where oneDNN has no products and convolutions in ``dtype``: bfloat16 takes AVX-512."""
    if np.dtype(dtype).name == "bfloat16":
        skip_without("bfloat16 in oneDNN")
