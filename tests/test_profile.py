"""The profile of a placed program, and the command line that prints it."""

from __future__ import annotations

import re
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from networks import NETWORKS

import collage_jax
from collage_jax.backends.registry import get
from collage_jax.command_line import main
from collage_jax.graph.region import Region
from collage_jax.graph.trace import trace_function
from collage_jax.graph.work import operations, traffic
from collage_jax.profiling import Limits, RegionProfile

needs_kernels = pytest.mark.skipif(get("sgemm").available() is not None, reason="there are no kernels to place")


def array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=lambda n: n.name)
def test_operations_of_a_network_are_those_of_its_definition(network):
    weights = [array(*weight.shape) for weight in network.weights]
    graph = trace_function(network.apply, weights, array(*network.input_shape(2)))
    assert operations(graph.nodes) / 1e9 == pytest.approx(2 * network.gflops, rel=1e-3)


def test_operations_and_bytes_by_hand():
    def fun(x, w):
        return jnp.tanh(lax.conv_general_dilated(x, w, (2, 1), "VALID", feature_group_count=2))

    graph = trace_function(fun, array(1, 4, 9, 8), array(6, 2, 3, 3))
    region = Region.of(graph, graph.nodes)
    assert operations(region.nodes) == 2 * (6 * 4 * 6) * (2 * 3 * 3)
    assert traffic(region) == 4 * (4 * 9 * 8 + 6 * 2 * 3 * 3 + 6 * 4 * 6)
    batched = trace_function(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), array(3, 4, 5), array(3, 5, 6))
    assert operations(batched.nodes) == 2 * 3 * 4 * 5 * 6


def test_a_scan_counts_as_often_as_it_runs():
    def fun(x, ws):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, ws)[0]

    graph = trace_function(fun, array(3, 4), array(7, 4, 4))
    assert operations(graph.nodes) == 7 * 2 * 3 * 4 * 4


def test_the_share_of_a_limit_is_that_of_what_takes_longest_at_best():
    row = RegionProfile("b", "dot", "", 2, us=10.0, inside=True, flops=1e6, bytes=4e4)
    assert row.share_of(Limits(flops=2e11, bytes=1e10)) == pytest.approx(0.5)
    assert row.share_of(Limits(flops=2e11, bytes=1e11)) == pytest.approx(0.5)
    assert row.share_of(Limits(flops=2e11, bytes=5e9)) == pytest.approx(0.8)
    assert row.total_us == 20.0


def layers(weights, x):
    for w in weights:
        x = jax.nn.relu(x @ w)
    return x


@needs_kernels
def test_regions_are_timed_inside_the_program():
    rng = np.random.default_rng(0)
    weights = [jnp.asarray(rng.standard_normal((512, 512)), jnp.float32) / 16 for _ in range(4)]
    x = jnp.asarray(rng.standard_normal((64, 512)), jnp.float32)
    fun = collage_jax.jit(layers, frozen_argnums=0, budget_s=20)
    placement = fun.placement(weights, x)
    text = fun.explain(weights, x, profile=True)
    assert text.startswith(str(placement))
    if placement.is_xla:
        assert "No profile" in text
        return
    rest = text[len(str(placement)) :]
    assert "Profile" in rest and re.search(r"Whole program [\d.]+ us", rest)
    assert re.search(r"\d+ GFLOP/s, of which this is \d+%", rest)


def test_there_is_no_profile_where_xla_runs_everything():
    fun = collage_jax.jit(jnp.sin, backends=[])
    assert "No profile: XLA runs everything" in fun.explain(jnp.ones(3), profile=True)


PROGRAM = """
    import jax.numpy as jnp

    def make():
        return jnp.dot, (jnp.ones((8, 8)), jnp.ones((8, 8)))

    def wrong():
        return jnp.dot

    number = 3
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])
    path = tmp_path / "a_program_to_explain.py"
    path.write_text(textwrap.dedent(PROGRAM))
    return path


def test_the_command_line_explains_and_profiles(program, capsys):
    for command in ("explain", "profile"):
        main([command, f"{program}:make", "--frozen", "0", "--backend", "xla"])
        assert "XLA runs everything" in capsys.readouterr().out


def test_a_file_may_be_called_as_a_module_is(program, capsys):
    other = program.with_name("queue.py")
    other.write_text(program.read_text())
    main(["explain", f"{other}:make", "--backend", "xla"])
    assert "XLA runs everything" in capsys.readouterr().out


def test_the_command_line_lists_backends(capsys):
    main(["backends"])
    listed = capsys.readouterr().out
    assert all(f"{name} (" in listed for name in ("xla", "onednn", "openvino"))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("{}", "must be module:name or file.py:name"),
        ("{}:wrong", "must return"),
        ("{}:number", "must have a function called 'number', got 3"),
        ("{}:missing", "must have a function called 'missing'"),
        ("no_such_module:make", "can be imported"),
    ],
)
def test_targets_that_cannot_be_used_are_named(program, target, message):
    with pytest.raises(SystemExit, match=message):
        main(["profile", target.format(program)])
