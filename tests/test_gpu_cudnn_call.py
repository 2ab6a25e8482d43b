"""The stages of a call of cuDNN, on the CPU against a stand-in for the library that records and adds its operands.

What is shown: operands and results arrive in order, the last result is memory to work in, a plan is built once for each
device and serves every stream, attributes are checked when a program is compiled. Nothing of cuDNN's.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from native_modules import compiled

from collage_jax.ffi import native


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    module = compiled(
        tmp_path_factory.mktemp("cudnn"), "cudnn_call", "tests/native/cudnn_call.cc", "csrc/cudnn/call.cc"
    )
    native.register(module)
    return module.events


def call(*arrays, spec="graph", sm=80, engine="", version="91100"):
    results = jax.ShapeDtypeStruct((4,), jnp.float32), jax.ShapeDtypeStruct((64,), jnp.uint8)
    invoke = jax.ffi.ffi_call("cudnn_call_on_host", results)
    return invoke(*arrays, spec=spec, device="{}", sm=np.int64(sm), engine=engine, version=version)[0]


def test_arrays_arrive_in_order_and_the_workspace_is_no_result(events):
    a, b, c = (jnp.arange(4.0) + 10 * i for i in range(3))
    np.testing.assert_array_equal(jax.jit(call)(a, b, c), 4 * a + 2 * b + c)
    assert events()[-1].startswith("run of 4 on stream ")


def test_one_plan_serves_all_streams_of_a_device(events):
    events()
    a = jnp.arange(4.0)
    program = jax.jit(lambda x: call(x, spec="once", engine="chosen"))
    for _ in range(5):
        program(a)
    seen = events()
    assert [e for e in seen if e.startswith("plan")] == ["plan once on chosen in 64 of device 3"]
    assert {e for e in seen if e.startswith("run")} == {"run of 2 on stream 1", "run of 2 on stream 2"}


def test_without_an_engine_the_first_is_taken(events):
    events()
    jax.jit(lambda x: call(x, spec="any"))(jnp.arange(4.0))
    assert "plan any on first for any in 64 of device 3" in events()


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"version": "90000"}, "made for cuDNN 90000 and this is 91100: compile it anew"),
        ({"sm": 75}, "no engine for sm_75"),
        ({"sm": np.int32(80)}, "Wrong scalar data type"),
    ],
)
def test_attributes_are_checked_when_a_program_is_compiled(events, attributes, message):
    def bad(x):
        results = jax.ShapeDtypeStruct((4,), jnp.float32), jax.ShapeDtypeStruct((64,), jnp.uint8)
        given = {"spec": "graph", "device": "{}", "sm": np.int64(80), "engine": "", "version": "91100", **attributes}
        given["sm"] = given["sm"] if isinstance(given["sm"], np.integer) else np.int64(given["sm"])
        return jax.ffi.ffi_call("cudnn_call_on_host", results)(x, **given)[0]

    with pytest.raises(Exception, match=message):
        jax.jit(bad).lower(jnp.arange(4.0)).compile()
