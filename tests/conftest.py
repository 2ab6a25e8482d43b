"""Settings of the whole test run: JAX on the CPU, no worker, nothing kept, how hard hypothesis looks."""

import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ["COLLAGE_JAX_CACHE_DIR"] = "off"
os.environ["COLLAGE_JAX_WORKER"] = "off"

import pytest
from hypothesis import HealthCheck, settings

import collage_jax
from collage_jax.calls import deciding
from collage_jax.config import config
from collage_jax.database import Database
from collage_jax.gpu import xla_target
from collage_jax.worker.client import Client

DOCS = Path(__file__).parents[1] / "docs"

_COMMON = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
}
settings.register_profile("quick", max_examples=5, **_COMMON)
settings.register_profile("brief", max_examples=2, **_COMMON)
settings.register_profile("thorough", max_examples=300, **(_COMMON | {"derandomize": False}))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_configure(config):
    # Not in addopts: a -m on the command line, "not gpu" say, would be in place of it.
    wanted = config.option.markexpr
    if "slow" not in wanted:
        config.option.markexpr = f"({wanted}) and not slow" if wanted else "not slow"


def pytest_collection_modifyitems(items):
    if (missing := xla_target.why_not()) is not None:
        for item in items:
            if item.get_closest_marker("xla_gpu"):
                item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture
def worker(monkeypatch):
    """A worker of the test's own, and nothing known."""
    database, client = Database(None), Client()
    monkeypatch.setattr(deciding, "store", lambda: database)
    monkeypatch.setattr(deciding, "WORKER", client)
    monkeypatch.setattr(config, "worker", True)
    yield client
    client.close()


@pytest.fixture
def registered():
    """Registers backends for as long as the test runs; gives their names."""
    names = []

    def register(*backends):
        for backend in backends:
            collage_jax.register_backend(backend)
            names.append(backend.name)
        return names

    yield register
    for name in names:
        collage_jax.unregister_backend(name)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The documentation, built without a warning."""
    for package in ("sphinx", "myst_parser", "furo", "sphinx_copybutton", "sphinx_design"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install '.[docs]'")
    out = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-P", "-m", "sphinx", "-q", "-W", "--keep-going", "-E", "-d", str(out / "doctrees")]
    done = subprocess.run([*build, str(DOCS), str(out / "html")], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return out / "html"


@pytest.fixture
def compilation_cache(tmp_path):
    """The environment of a process that keeps every compiled program in one folder."""
    return os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
