"""Native modules that tests compile for themselves."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sysconfig
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]


def compiled(folder, name, *sources, flags=()):
    """The extension module ``name`` of ``sources``, which lie below the project's root; skips without a compiler."""
    pybind11 = pytest.importorskip("pybind11", reason="pybind11 is not installed")
    if shutil.which("g++") is None:
        pytest.skip("there is no g++")
    includes = [jax.ffi.include_dir(), pybind11.get_include(), sysconfig.get_path("include")]
    path = Path(folder, f"{name}.so")
    command = ["g++", "-std=c++20", "-O0", "-shared", "-fPIC", "-fvisibility=hidden", *flags]
    command += [f"-isystem{include}" for include in includes]
    done = subprocess.run(
        [*command, *(str(ROOT / s) for s in sources), "-o", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
