"""Backends from outside: an installed package's is found by its entry point, and a script's has few lines."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from collage_jax.testing import arguments, case, check_backend

EXAMPLES = Path(__file__).parents[1] / "examples"
PACKAGE = EXAMPLES / "custom_backend"
SCRIPT = EXAMPLES / "custom_backend.py"

#: A backend of a script may take so many lines, its registration among them.
LINES = 15


def _can_build() -> bool:
    """True if this environment has what builds the package: setuptools, and what makes wheels."""
    try:
        metadata.version("pip")
        version = tuple(map(int, metadata.version("setuptools").split(".")[:2]))
    except metadata.PackageNotFoundError:
        return False
    return version >= (77, 0)


def _install_with_pip(source: Path, target: Path) -> None:
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def _unpack(source: Path, target: Path) -> None:
    """What is in the package's wheel, as far as Python looks at it; nothing is fetched to build one."""
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf8"))["project"]
    shutil.copytree(source / "src", target, dirs_exist_ok=True)
    info = target / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    for group, points in project["entry-points"].items():
        (info / "entry_points.txt").write_text(f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()))


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder in which the package is installed; made from a copy, so that building leaves nothing in the checkout."""
    source, target = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    (_install_with_pip if _can_build() else _unpack)(source, target)
    return target


def run(installed: Path, *command: str) -> str:
    """What Python prints where the package is installed."""
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, *command], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


USES = """
import json
import jax.numpy as jnp
import collage_jax

info = {b.name: b for b in collage_jax.backends()}["cumulative"]
placed = collage_jax.jit(lambda x: jnp.cumsum(x, 1) * 2.0, tune="op-level", budget_s=60)
x = jnp.ones((8, 200, 64))
placement = placed.placement(x)
(region,) = [r for r in placement.regions if r.ops == ("cumsum",)]
costs = {region.backend: region.cost, **region.alternatives}
print(json.dumps({
    "info": [info.kind, info.platforms, info.version, info.unavailable],
    "measured": sorted(name for name, cost in costs.items() if getattr(cost, "runs", 0)),
    "explained": "cumulative" in placed.explain(x),
    "right": bool((placed(x)[0, :, 0] == 2.0 * jnp.arange(1, 201)).all()),
}))
"""


def test_an_installed_package_is_found_and_considered(installed):
    said = json.loads(run(installed, "-c", USES).splitlines()[-1])
    assert said["info"] == ["kernel-library", ["cpu"], "0.1.0", None]
    assert said["measured"] == ["cumulative", "xla"]
    assert said["explained"] and said["right"]


@pytest.mark.slow
def test_the_package_passes_its_own_tests(installed):
    printed = run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(PACKAGE / "tests"))
    assert " passed" in printed and "failed" not in printed and "skipped" not in printed


def test_without_the_package_there_is_no_such_backend(tmp_path):
    assert "'cumulative'" not in run(
        tmp_path, "-c", "import collage_jax; print([b.name for b in collage_jax.backends()])"
    )


# The script.


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("custom_backend_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_s_backend_has_few_lines():
    text = SCRIPT.read_text(encoding="utf8")
    lines = text.splitlines()
    (backend,) = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    defined = [line for line in lines[backend.lineno - 1 : backend.end_lineno] if line.strip()]
    registered = [line for line in lines if line.strip().startswith("collage_jax.register_backend(")]
    assert len(registered) == 1
    assert len(defined) + len(registered) <= LINES


def test_the_script_s_backend_keeps_the_contract(script, monkeypatch):
    monkeypatch.setitem(sys.modules, script.__name__, script)
    drawn = case(script.integral_image, arguments=arguments("h w c", largest=20))
    report = check_backend(script.Running(), [drawn], effort="quick")
    assert not report.skipped
    assert any("cumsum" in region for region in report.regions)
