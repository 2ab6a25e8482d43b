"""What is shipped: the source distribution has all that a build needs, the wheel all that is run, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]

#: Libraries that any Linux of manylinux has, the system's OpenMP, and oneDNN, which is opened from its own wheel.
NEEDED = {
    *("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "ld-linux-x86-64.so.2"),
    *("libstdc++.so.6", "libgcc_s.so.1", "libgomp.so.1", "libdnnl.so.3"),
}
#: Extensions of each kind that setup.py knows; a release has them all.
BUILT = ("entry", "no_driver", "program", "openvino", "cuda")
#: The families of their symbols' versions.
VERSIONS = {"GLIBC", "GLIBCXX", "CXXABI", "GCC", "GOMP", "OMP"}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """The source distribution, unpacked; made from a copy, so that building leaves nothing in the checkout."""
    pytest.importorskip("setuptools", minversion="77", reason="setuptools 77 or newer is not installed")
    folder = tmp_path_factory.mktemp("sdist")
    ignored = shutil.ignore_patterns(
        ".git", "__pycache__", "*.so", "build", "*.egg-info", ".*_cache", "site", ".hypothesis"
    )
    shutil.copytree(ROOT, folder / "source", ignore=ignored)
    built(folder / "source", "sdist", folder)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return unpacked


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """The wheel that is built from it, unpacked; some extensions, compiled quickly, for nothing of it is run."""
    pytest.importorskip("pybind11", reason="pybind11 is not installed")
    for tool in ("g++", "readelf"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool}")
    folder = tmp_path_factory.mktemp("wheel")
    built(sdist, "wheel", folder, COLLAGE_JAX_CXXFLAGS="-O0", COLLAGE_JAX_EXTENSIONS=" ".join(BUILT))
    (archive,) = folder.glob("*.whl")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder / "unpacked")
    return folder / "unpacked"


def built(source: Path, kind: str, folder: Path, **environment: str) -> None:
    """As a build frontend does it without isolation, so that nothing is fetched."""
    call = f"from setuptools import build_meta; build_meta.build_{kind}({str(folder)!r})"
    command = [sys.executable, "-c", call]
    done = subprocess.run(
        command, cwd=source, env=os.environ | environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def files_of(folder: Path, *suffixes: str) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in suffixes}


def test_the_source_distribution_has_what_builds_and_tests_it(sdist):
    for folder in ("collage_jax", "csrc", "tests", "examples"):
        wanted = files_of(ROOT / folder, ".py", ".cc", ".c", ".h", ".typed", ".toml")
        assert wanted <= files_of(sdist / folder, ".py", ".cc", ".c", ".h", ".typed", ".toml"), folder
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "SECURITY.md", "requirements-cudnn.txt"):
        assert (sdist / name).is_file(), name
    assert not files_of(sdist, ".so", ".pyc", ".o")


def test_the_wheel_has_all_modules_and_nothing_but_the_package(wheel):
    (info,) = wheel.glob("*.dist-info")
    assert {path.name for path in wheel.iterdir()} == {"collage_jax", info.name}
    assert files_of(wheel / "collage_jax", ".py", ".typed") == files_of(ROOT / "collage_jax", ".py", ".typed")
    assert {path.suffix for path in (wheel / "collage_jax").rglob("*.*")} == {".py", ".typed", ".so"}
    made = {path.name.partition(".")[0] for path in (wheel / "collage_jax").glob("*.so")}
    assert made == {f"_{name}" for name in BUILT}
    assert "License-File: LICENSE" in (info / "METADATA").read_text()
    assert "collage-jax = collage_jax.command_line:main" in (info / "entry_points.txt").read_text()


def test_extensions_need_only_what_every_machine_has(wheel):
    for extension in (wheel / "collage_jax").glob("*.so"):
        dynamic = subprocess.run(["readelf", "-dV", extension], capture_output=True, text=True, check=True).stdout
        assert set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)) <= NEEDED, extension.name
        assert not re.search(r"\((RPATH|RUNPATH)\)", dynamic), extension.name
        assert {name.partition("_")[0] for name in re.findall(r"Name: (\S+) ", dynamic)} <= VERSIONS, extension.name
