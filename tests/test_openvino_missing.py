"""OpenVINO that is missing or damaged: a reason, and nothing else. Needs no OpenVINO."""

from importlib import metadata
from pathlib import Path

import jax.numpy as jnp
import pytest

from collage_jax.backends.openvino import BACKEND, library
from collage_jax.graph.trace import trace_function


@pytest.fixture
def looked_for_again():
    node = trace_function(jnp.tanh, jnp.ones(3)).nodes[0]
    for found in (library._load, library._package):
        found.cache_clear()
    yield node
    for found in (library._load, library._package):
        found.cache_clear()


def test_a_missing_package_is_a_reason(looked_for_again, monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)
    assert "pip install openvino" in BACKEND.available().reason
    assert "pip install openvino" in BACKEND.takes(looked_for_again).reason


def test_a_damaged_package_is_a_reason(looked_for_again, monkeypatch, tmp_path):
    class File(type(Path())):
        def locate(self):
            return tmp_path / self.name

    monkeypatch.setattr(metadata, "files", lambda name: [File("libs/libopenvino_c.so.2641")])
    assert "damaged" in BACKEND.available().reason
    monkeypatch.setattr(metadata, "files", lambda name: [])
    library._load.cache_clear()
    assert "has no libopenvino_c.so" in BACKEND.available().reason
