"""Functions placed for a GPU that is not here. Nothing runs; what needs XLA's compiler for CUDA is skipped without it.

pip install --no-deps jax-cuda13-pjrt==0.10.2 jax-cuda13-plugin==0.10.2
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback

import collage_jax
from collage_jax import Estimated, Failed, Measured, PreparedKernel, Unsupported, lower_for
from collage_jax.backends import registry
from collage_jax.candidates import candidate_of
from collage_jax.deviceless.estimate import Roofline
from collage_jax.deviceless.kernels import kernels, needs_engine
from collage_jax.gpu import xla_target
from collage_jax.gpu.device import MODELS, known
from collage_jax.graph.region import Region
from collage_jax.patterns import Pattern, any_, op, relu, softmax
from collage_jax.problem import problem_of
from collage_jax.report.figures import measurement, short
from collage_jax.report.table import cost_text
from collage_jax.target import aiming_at

needs_compiler = pytest.mark.xla_gpu

F32 = jnp.float32
X, W = jax.ShapeDtypeStruct((8, 64), F32), {"a": jax.ShapeDtypeStruct((64, 128), F32), "b": np.ones((128, 32), F32)}


def network(w, x):
    return {"out": jax.nn.softmax(jax.nn.relu(x @ w["a"]) @ w["b"])}


class Called(collage_jax.Backend):
    """Products and softmax for GPUs, by a foreign function that nobody registered."""

    name, platforms = "called", ("gpu",)
    patterns = (
        Pattern("dot+relu", relu(op("dot_general")(any_("x"), any_("w")))),
        Pattern("dot", op("dot_general")(any_("x"), any_("w"))),
        Pattern("softmax", softmax(any_("x"))),
    )

    def emit(self, region):
        results = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in region.exits]
        return lambda *arrays: jax.ffi.ffi_call("called_v1", results)(*arrays, what="+".join(region.ops))


class Packing(Called):
    """Keeps frozen weights as another foreign function packs them."""

    name = "packing"

    def emit_frozen(self, region, frozen):
        def prepare(weights):
            return (jax.ffi.ffi_call("pack_v1", jax.ShapeDtypeStruct((weights.size,), weights.dtype))(weights),)

        run = self.emit(region)
        return PreparedKernel(prepare, lambda packed, x: run(x, packed))


class Native(Called):
    """The same by JAX's own operations, which any platform compiles."""

    name = "native"

    def emit(self, region):
        from collage_jax.graph.evaluate import callable_of

        return callable_of(region.nodes, region.entries, region.exits)


@pytest.fixture
def no_compiler(monkeypatch):
    """As where the plugin is not installed."""
    for module in ("program", "lowering"):
        monkeypatch.setattr(
            f"collage_jax.deviceless.{module}.why_not", lambda: "it is not installed: pip install wheel"
        )


def region_of(fun, *shapes):
    """All of a function as one region."""
    graph = problem_of(jax.jit(fun).trace(*shapes).jaxpr, ()).split.each
    return Region.of(graph, graph.nodes)


def of(*shape, dtype=F32):
    return jax.ShapeDtypeStruct(shape, dtype)


# -- what is placed and lowered ----------------------------------------------------------------------------------------


def test_regions_are_placed_on_estimates(registered, no_compiler):
    registered(Called())
    lowered = lower_for(network, W, X, device="sm_80", backends=["called"])
    placement = lowered.placement
    assert placement.counts() == {"called": 3}
    assert all(isinstance(region.cost, Estimated) and region.cost.median_us > 0 for region in placement.regions)
    assert {region.label for region in placement.regions} == {"dot+relu", "dot", "softmax"}
    assert placement.measured_us is None and placement.xla_us is None and placement.distinct_measured == 0
    notes = " ".join(placement.notes)
    assert "estimates for NVIDIA A100" in notes and "nothing has run" in notes
    assert "the library has it" in notes
    assert placement.environment["device"].startswith("sm_80")


def test_the_program_calls_what_was_placed(registered, no_compiler):
    registered(Called())
    lowered = lower_for(network, W, X, backends=["called"])
    assert lowered.stage == "stablehlo"
    assert lowered.as_text() == lowered.stablehlo()
    assert lowered.custom_calls() == {"called_v1": 3}
    assert 'what = "dot_general+relu"' in lowered.as_text()
    assert "stablehlo.dot_general" not in lowered.as_text()
    assert lowered.memory is None
    with pytest.raises(RuntimeError, match="pip install"):
        lowered.compile()


def test_a_program_is_exported_for_cuda(registered, no_compiler):
    pytest.importorskip("flatbuffers", reason="jax.export writes with flatbuffers")
    registered(Called())
    data = lower_for(network, W, X, backends=["called"]).export()
    exported = jax.export.deserialize(bytearray(data))
    assert exported.platforms == ("cuda",)
    assert [a.shape for a in exported.in_avals] == [(64, 128), (128, 32), (8, 64)]
    assert jax.tree.unflatten(exported.out_tree, exported.out_avals)["out"].shape == (8, 32)
    assert exported.mlir_module().count("@called_v1(") == 3


def test_frozen_arguments_make_two_programs(registered, no_compiler):
    registered(Packing())
    lowered = lower_for(network, W, X, frozen_argnums=0, backends=["packing"])
    assert lowered.prepare is not None
    assert lowered.prepare.custom_calls() == {"pack_v1": 2}
    assert lowered.custom_calls() == {"called_v1": 3}
    assert sorted(leaf.shape for leaf in jax.tree.leaves(lowered.prepare.result)) == [(4096,), (8192,)]
    assert "tensor<64x128xf32>" not in lowered.stablehlo()


def test_frozen_arguments_may_be_given_by_name(registered, no_compiler):
    registered(Packing())
    lowered = lower_for(network, w=W, x=X, frozen_argnums=0, backends=["packing"])
    assert lowered.prepare is not None and lowered.custom_calls() == {"called_v1": 3}


def test_bodies_of_control_flow_are_placed(registered, no_compiler):
    registered(Called())

    def repeated(w, x):
        return jax.lax.scan(lambda x, _: (jax.nn.relu(x @ w), None), x, length=3)[0]

    lowered = lower_for(repeated, of(64, 64), X, backends=["called"])
    assert lowered.placement.counts()["called"] == 1
    assert lowered.custom_calls() == {"called_v1": 1}


def test_static_arguments_and_none_at_all(no_compiler):
    text = lower_for(lambda x, n: x * n, X, 3, static_argnums=1).stablehlo()
    assert "stablehlo.multiply" in text
    assert "stablehlo.iota" in lower_for(lambda: jnp.arange(4.0)).stablehlo()


def test_a_decorated_function_inside_is_placed_with_the_whole(registered, no_compiler):
    registered(Called())
    inner = collage_jax.jit(lambda x, w: jax.nn.relu(x @ w))
    lowered = lower_for(lambda x, w: inner(x, w), X, of(64, 32), backends=["called"])
    assert lowered.placement.counts()["called"] == 1


@pytest.mark.filterwarnings("ignore:Some donated buffers were not usable")  # as jax.jit says too
@pytest.mark.parametrize(
    "decorated",
    [
        jax.jit(network),
        jax.jit(network, donate_argnums=1),
        collage_jax.jit(network),
        collage_jax.jit(network, donate_argnums=1),
        collage_jax.jit(jax.jit(network, donate_argnums=1)),
        lambda w, x: jax.jit(network, donate_argnums=1)(w, x),
    ],
)
def test_a_decorated_function_is_placed_as_it_is_without(decorated, registered, no_compiler):
    registered(Called())
    lowered = lower_for(decorated, W, X, backends=["called"])
    assert lowered.custom_calls() == lower_for(network, W, X, backends=["called"]).custom_calls()
    assert lowered.custom_calls() == {"called_v1": 3}


def state_and_more(state, scale, n, *, more):
    return {"state": state["a"] @ state["a"] * n + scale, "more": more * n}


@pytest.mark.parametrize("jit", [jax.jit, collage_jax.jit])
def test_what_a_function_was_decorated_with_holds(jit, no_compiler):
    options = {"static_argnums": 2, "donate_argnums": 0, "donate_argnames": "more"}
    square, vector = jax.ShapeDtypeStruct((16, 16), F32), jax.ShapeDtypeStruct((16,), F32)
    lowered = lower_for(jit(state_and_more, **options), {"a": square}, 2.0, 3, more=vector)
    text = lowered.stablehlo()
    (entry,) = (line for line in text.splitlines() if "@main" in line)
    given = [one for one in entry.split("%arg")[1:] if "tf.aliasing_output" in one or "jax.buffer_donor" in one]
    assert [one[:1] for one in given] == ["0", "2"], entry
    assert "aliasing" not in lower_for(state_and_more, {"a": square}, 2.0, 3, static_argnums=2, more=vector).stablehlo()
    with pytest.raises(TypeError, match="static_argnums"):
        lower_for(jit(state_and_more, **options), {"a": square}, 2.0, "no array", static_argnums=(), more=vector)


def test_a_function_placed_by_its_own_options(registered, no_compiler):
    registered(Packing(), Called())
    decorated = collage_jax.jit(network, backends=["packing"], frozen_argnums=0)
    lowered = lower_for(decorated, W, X)
    assert lowered.prepare is not None and "packing" in lowered.placement.counts()
    assert lower_for(decorated, W, X, backends=["called"], frozen_argnums=()).prepare is None
    off = collage_jax.jit(network, disable_backends=["called"])
    assert not lower_for(off, W, X, backends=["called"]).custom_calls()


class Model:
    def __init__(self, w):
        self.w = w

    @collage_jax.jit
    def __call__(self, x):
        return network(self.w, x)


jax.tree_util.register_pytree_node(Model, lambda model: ((model.w,), None), lambda _, children: Model(*children))


def test_a_decorated_method_is_placed(registered, no_compiler):
    registered(Called())
    assert lower_for(Model(W).__call__, X, backends=["called"]).custom_calls() == {"called_v1": 3}


def test_frozen_and_donated_arguments(registered, no_compiler):
    registered(Packing())
    decorated = collage_jax.jit(
        lambda w, x: network(w, x)["out"] @ w["a"].T[:32, :], frozen_argnums=0, donate_argnums=1
    )
    lowered = lower_for(decorated, W, X, backends=["packing"])
    (entry,) = (line for line in lowered.stablehlo().splitlines() if "@main" in line)
    assert "aliasing" in entry and lowered.prepare is not None and "aliasing" not in lowered.prepare.stablehlo()


def test_traces_of_the_program_itself_are_others(no_compiler):
    """In those, decorated functions are placed by themselves."""
    inner = collage_jax.jit(lambda x: jnp.tanh(x) * 2)

    def outer(x):
        return inner(x) + 1

    lower_for(outer, X, backends=[])
    assert "collage_jax_placed" in str(jax.jit(outer).trace(X).jaxpr)


def test_without_a_backend_xla_has_it_all(no_compiler):
    lowered = lower_for(network, W, X, backends=[])
    assert lowered.placement.is_xla and not lowered.custom_calls()
    assert "stablehlo.dot_general" in lowered.stablehlo()


def test_the_aim_ends_with_the_call(registered, no_compiler):
    registered(Called())
    lower_for(network, W, X, backends=["called"])
    assert "JAX's default backend is cpu" in str(registry.why_unavailable(registry.get("called")))


class Anywhere(Native):
    name, platforms = "anywhere", ("cpu", "gpu")


def test_a_placement_can_be_pinned_elsewhere_where_it_is_checked(registered, no_compiler):
    registered(Anywhere())
    w, x = (
        {"a": np.full((64, 128), 0.1, np.float32), "b": np.full((128, 32), 0.1, np.float32)},
        np.ones((8, 64), np.float32),
    )
    ahead = lower_for(network, w, x, backends=["anywhere"]).placement
    pinned = collage_jax.jit(network, placement=ahead, backends=["anywhere"])
    np.testing.assert_allclose(pinned(w, x)["out"], network(w, x)["out"], rtol=1e-5)
    assert pinned.placement(w, x).counts() == {"anywhere": 3}
    assert "Pinned, and checked here." in pinned.placement(w, x).notes


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_an_unknown_device_is_told_with_those_known():
    with pytest.raises(ValueError, match=r"'sm_75' \(Tesla T4\).*'sm_90'.*got 'sm_20'"):
        lower_for(network, W, X, device="sm_20")


def test_what_is_no_array_is_told_with_its_place():
    with pytest.raises(TypeError, match=r"got 'text' at .*\[0\]\[1\]\['b'\]; .*static_argnums"):
        lower_for(lambda x, w: x, X, {"b": "text"})


def test_backends_are_checked_as_by_jit():
    with pytest.raises(ValueError, match="no backend is called 'nobody'"):
        lower_for(network, W, X, backends=["nobody"])
    with pytest.raises(TypeError, match=r"write \['xla'\]"):
        lower_for(network, W, X, backends="xla")


@pytest.mark.parametrize("call", ["pure_callback", "io_callback", "debug_callback", "debug_print"])
def test_what_calls_python_back_is_told(call):
    def fun(x):
        if call == "pure_callback":
            return jax.pure_callback(np.sin, x, x)
        if call == "io_callback":
            return io_callback(np.sin, x, x)
        jax.debug.print("{}", x) if call == "debug_print" else jax.debug.callback(print, x)
        return x

    with pytest.raises(ValueError, match=r"call Python back .* got one with (debug|io|pure)_.*; leave it out"):
        lower_for(jax.jit(fun), X)


def test_a_compiler_that_does_not_start_is_told_with_the_remedy(monkeypatch):
    def topology(description):
        raise NotImplementedError("topology not implemented for cuda")

    monkeypatch.setattr("collage_jax._compat.cuda_topology", topology)
    for module in ("collage_jax.gpu.xla_target", "collage_jax.deviceless.lowering"):
        monkeypatch.setattr(f"{module}.why_not", lambda: None)
    with pytest.raises(RuntimeError, match=r"does not start .*topology not implemented.* set JAX_PLATFORMS=cpu"):
        lower_for(network, W, X)


def test_what_is_no_function_is_told():
    with pytest.raises(TypeError, match="`fun` must be callable, got int"):
        lower_for(3, X)  # type: ignore[arg-type]


def test_a_backend_for_cpus_is_left_out_with_a_reason(no_compiler):
    placement = lower_for(network, W, X, backends=["callback"]).placement
    assert placement.is_xla
    assert "this is for a gpu" in (placement.unavailable or {})["callback"]


class Raising(Called):
    name = "raising"

    def emit(self, region):
        if "relu" in region.ops:
            raise RuntimeError("no kernel for this")
        return super().emit(region)


class Misshapen(Called):
    name = "misshapen"

    def emit(self, region):
        return lambda *arrays: jnp.zeros((3,), F32)


class Refusing(Called):
    name = "refusing"

    def supports(self, region):
        return Unsupported("not today")


@pytest.mark.parametrize(
    ("backend", "left", "reason"),
    [
        (Raising, {"raising": 2}, "RuntimeError: no kernel for this"),
        (Misshapen, {}, "gives float32[3] instead of float32[8, 128]"),
        (Refusing, {}, "not today"),
    ],
)
def test_kernels_that_cannot_be_made_stay_out_with_reasons(backend, left, reason, registered, no_compiler):
    registered(backend())
    placement = lower_for(network, W, X, backends=[backend.name]).placement
    counts = placement.counts()
    counts.pop("xla", None)
    assert counts == left
    assert any(reason in refusal.reason for refusal in placement.refusals)


# -- estimates ---------------------------------------------------------------------------------------------------------


def dot(x, w):
    return x @ w


def us(region, device="sm_80", backend="called"):
    backends = {"called": Called(), "xla": registry.reference()}
    return Roofline(known(device)).of_candidate(candidate_of(region, backend), backends[backend]).median_us


def test_more_bytes_take_longer():
    assert us(region_of(jnp.tanh, of(1 << 24))) > 1.9 * us(region_of(jnp.tanh, of(1 << 23)))


def test_more_operations_take_longer():
    small, large = (region_of(dot, of(4096, k), of(k, 4096)) for k in (4096, 8192))
    assert 1.9 < us(large) / us(small) < 2.1


def test_a_faster_gpu_is_faster():
    region = region_of(dot, of(4096, 4096, dtype=jnp.float16), of(4096, 4096, dtype=jnp.float16))
    times = [us(region, device) for device in ("sm_75", "sm_80", "sm_90")]
    assert times == sorted(times, reverse=True) and len(set(times)) == 3


def test_precision_that_is_asked_for_rules_out_tf32():
    def precise(x, w):
        return jnp.matmul(x, w, precision="highest")

    shapes = of(4096, 4096), of(4096, 4096)
    assert us(region_of(precise, *shapes)) > 4 * us(region_of(dot, *shapes))
    assert us(region_of(precise, *shapes), "sm_75") == us(region_of(dot, *shapes), "sm_75")  # it has no TF32


def test_every_model_gives_times_that_add_up_exactly():
    region = region_of(dot, of(100, 30), of(30, 70))
    for device in MODELS:
        time = us(region, device)
        assert time >= 3 and math.modf(time * 64)[0] == 0


def normalised(x, g, b):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5) * g + b


def attention(q, k, v):
    return jax.nn.softmax(jnp.einsum("bhqd,bhkd->bhqk", q, k) * 0.1) @ v


def branches(x, w, v):
    return jax.nn.relu(x @ w) + jax.nn.relu(x @ v)


HEADS = of(1, 4, 64, 32)


@pytest.mark.parametrize(
    ("fun", "shapes", "count", "before_80"),
    [
        (dot, (of(32, 64), of(64, 16)), 1, 1),
        (lambda x, w, b: jax.nn.relu(x @ w + b), (of(32, 64), of(64, 16), of(16)), 1, 1),
        (lambda x, w: jnp.sin(x @ w) * 2.0, (of(32, 64), of(64, 16)), 2, 2),
        (lambda x: jnp.tanh(jnp.exp(x) * 2.0) + x, (of(32, 64),), 1, 1),
        (lambda x: jnp.exp(x).sum(0), (of(32, 64),), 1, 1),
        (lambda x: jnp.exp(jnp.sin(x).sum(0)), (of(32, 64),), 2, 2),
        (jax.nn.softmax, (of(32, 64),), 1, 3),
        (normalised, (of(32, 64), of(64), of(64)), 1, 3),
        (attention, (HEADS,) * 3, 3, 5),
        (branches, (of(32, 64), of(64, 64), of(64, 64)), 2, 2),
        (lambda x: x.reshape(64, 32), (of(32, 64),), 0, 0),
        (lambda x, r, w: x @ w + jnp.sin(r), (of(8, 8),) * 3, 2, 2),
    ],
)
def test_kernels_of_xla_by_rule(fun, shapes, count, before_80):
    region = region_of(fun, *shapes)
    for sm, expected in ((80, count), (75, before_80)):
        assert sum(kernel.launches for kernel in kernels(region, sm)) == expected, sm


def test_bytes_are_those_that_go_through_memory():
    (kernel,) = kernels(region_of(lambda x, b: jnp.tanh(x + b), of(32, 64), of(64)), 80)
    assert kernel.nbytes == 4 * (2 * 32 * 64 + 64)


def test_ties_go_to_a_library_only_where_xla_needs_a_kernel_anyway():
    assert needs_engine(region_of(dot, of(8, 8), of(8, 8)))
    assert needs_engine(region_of(jax.nn.softmax, of(8, 8)))
    assert not needs_engine(region_of(lambda x: jnp.tanh(x).T + 1.0, of(8, 8)))


class Activations(Called):
    name = "activations"
    patterns = (Pattern("tanh", op("tanh")(any_("x"))),)


def test_a_kernel_that_keeps_xla_from_fusing_is_not_chosen(registered, no_compiler):
    registered(Activations())
    placement = lower_for(lambda x: jnp.tanh(jnp.exp(x)) * 2.0, X, backends=["activations"]).placement
    assert placement.is_xla
    assert any("activations" in region.alternatives for region in placement.regions)


def test_a_product_without_what_follows_it_is_left_to_xla_which_fuses_both(registered, no_compiler):
    registered(Called())
    placement = lower_for(lambda x, w: x @ w + 1.0, X, of(64, 32), backends=["called"]).placement
    assert placement.is_xla
    assert any("keeps XLA from fusing" in refusal.reason for refusal in placement.refusals)


class Runtime(Called):
    name, kind, patterns = "runtime", "graph-runtime", ()

    def takes(self, node):
        return True


def test_a_runtime_is_taken_to_be_as_fast_as_xla_and_used_where_no_library_is(registered, no_compiler):
    registered(Runtime(), Called())
    assert lower_for(network, W, X, backends=["runtime"]).placement.counts() == {"runtime": 1}
    assert lower_for(network, W, X, backends=["runtime", "called"]).placement.counts() == {"called": 3}
    assert "runtime" not in lower_for(network, W, X).placement.counts()


class Products(Called):
    name = "products"
    patterns = (Pattern("dot", op("dot_general")(any_("x"), any_("w"))),)


def test_a_runtime_that_wants_all_does_not_keep_ties_from_libraries(registered, no_compiler):
    """What a runtime asks for has a cost by XLA, too: as one region, and not as many small ones."""

    def sorted_between(x, w):
        return jnp.sort(jnp.sort(x @ w, axis=0), axis=1) @ w

    registered(Runtime(), Products())
    square = of(64, 64)
    for backends in (["products"], ["runtime", "products"]):
        assert lower_for(sorted_between, square, square, backends=backends).placement.counts()["products"] == 2


class Telling(Called):
    name = "telling"

    def cost(self, region):
        return Measured(1000.0)


def test_a_backend_that_knows_its_own_cost_is_believed(registered, no_compiler):
    registered(Telling())
    placement = lower_for(network, W, X, backends=["telling"]).placement
    assert placement.is_xla
    assert any(cost.median_us == 1000 for r in placement.regions for cost in r.alternatives.values())


def test_estimates_are_told_as_such(registered, no_compiler, tmp_path):
    registered(Called())
    placement = lower_for(network, W, X, backends=["called"]).placement
    placement.save(tmp_path / "placement.json")
    assert collage_jax.Placement.load(tmp_path / "placement.json") == placement
    assert '"estimated"' in (tmp_path / "placement.json").read_text()
    assert "est." in str(placement)
    placement.to_html(tmp_path / "placement.html")
    assert "an estimate" in (tmp_path / "placement.html").read_text()
    cost = Estimated(12.0, note="1 kernel")
    assert (cost_text(cost), short(cost)) == ("12.0 est.", "12.0 us est.")
    assert measurement(cost) == "12.0 us, an estimate (1 kernel)"
    assert cost != Measured(12.0, runs=0, note="1 kernel")


# -- compiled by XLA for GPUs ------------------------------------------------------------------------------------------


@needs_compiler
@pytest.mark.parametrize("device", ["sm_75", "sm_80", "sm_90"])
def test_it_is_compiled_for_the_gpu(device, registered):
    registered(Native())
    lowered = lower_for(network, W, X, device=device, backends=["native"], frozen_argnums=0)
    assert lowered.stage == "hlo" and lowered.placement.counts() == {"native": 3}
    assert lowered.prepare is not None and "HloModule" in lowered.prepare.as_text()
    text = lowered.as_text()
    assert "HloModule" in text and "device_type" not in text.split("\n")[0]
    assert lowered.memory.output_size_in_bytes >= 8 * 32 * 4


@needs_compiler
@pytest.mark.parametrize(("device", "expected"), [("sm_75", "sm_75"), ("sm_90", "sm_90")])
def test_the_code_is_for_the_architecture(device, expected, tmp_path):
    lowered = lower_for(jnp.tanh, of(64, 64), device=device, backends=[])
    with aiming_at(known(device)):
        lowered.run._lowered.compile(compiler_options={"xla_dump_to": str(tmp_path)})
    assert any(f".target {expected}" in file.read_text() for file in tmp_path.glob("*.ptx"))


@needs_compiler
def test_kernels_that_do_not_compile_stay_with_xla(registered):
    registered(Called())
    placement = lower_for(network, W, X, device="sm_80", backends=["called"]).placement
    assert placement.is_xla
    failed = [cost for r in placement.regions for cost in r.alternatives.values() if isinstance(cost, Failed)]
    assert failed and all("called_v1" in cost.reason for cost in failed)


@needs_compiler
def test_the_rules_agree_with_what_xla_makes():
    """How many kernels XLA:GPU makes of a softmax."""
    sharding = xla_target.sharding_on(known("sm_75"))
    shape = jax.ShapeDtypeStruct((1024, 512), F32, sharding=sharding)
    text = jax.jit(jax.nn.softmax).lower(shape).compile().as_text()
    entry = text[text.index("ENTRY") :]
    made = sum(" fusion(" in line for line in entry.splitlines())
    assert made == sum(kernel.launches for kernel in kernels(region_of(jax.nn.softmax, of(1024, 512)), 75))
