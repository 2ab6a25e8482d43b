"""Placed functions as files: what is loaded gives the same numbers, and what cannot run or be read is said."""

from __future__ import annotations

import collections
import dataclasses
import io
import json
import re
import subprocess
import sys
import textwrap
import threading
import warnings
import zipfile
from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from api_fakes import assert_like_jit, is_placed, use, use_fake
from fakes import Fake
from placing import BACKENDS, on_kernels

import collage_jax
from collage_jax.backends import discovery, registry
from collage_jax.calls import deciding
from collage_jax.candidates import XLA
from collage_jax.command_line import main
from collage_jax.config import config
from collage_jax.shipping.manifest import Member
from collage_jax.sites import primitive
from collage_jax.sites.site import Site

X = jnp.linspace(-1, 1, 12, dtype=jnp.float32).reshape(3, 4)
W = {"w": jnp.linspace(1, 2, 8, dtype=jnp.float32).reshape(4, 2), "b": jnp.ones(2)}


@pytest.fixture
def fake(monkeypatch):
    """A backend that takes every product and keeps frozen operands in a form of its own; nothing is timed."""
    backend = use_fake(monkeypatch, packs=True)
    monkeypatch.setattr(
        deciding, "_in_worker", lambda call, problem, settings, pinned=None: on_kernels(problem, [backend])
    )
    return backend


@pytest.fixture(scope="module")
def exported():
    """``layer`` with frozen weights, on the made-up backend."""
    with pytest.MonkeyPatch.context() as patch:
        backend = use_fake(patch, packs=True)
        patch.setattr(
            deciding, "_in_worker", lambda call, problem, settings, pinned=None: on_kernels(problem, [backend])
        )
        return collage_jax.export(frozen_layer(), W, X)


@pytest.fixture
def untimed(monkeypatch):
    """Programs on as many real kernels as take any of them, without timing."""
    monkeypatch.setattr(
        deciding, "_in_worker", lambda call, problem, settings, pinned=None: on_kernels(problem, BACKENDS)
    )


def layer(w, x):
    return {"y": jnp.tanh(x @ w["w"] + w["b"])}


def frozen_layer():
    return collage_jax.jit(layer, frozen_argnums=0)


def there_and_back(fun, *args, **options):
    return collage_jax.load(collage_jax.export(fun, *args, **options).serialize())


# -- what is loaded computes -----------------------------------------------------------------------------------------


def test_what_is_loaded_gives_the_same_numbers_and_packs_nothing(fake, tmp_path):
    decorated = frozen_layer()
    wanted = decorated(W, X)
    exported = collage_jax.export(decorated, W, X, path=tmp_path / "layer.cjx")
    assert is_placed(exported.placements[0])
    emits = fake.emits + fake.packed_emits
    loaded = collage_jax.load(tmp_path / "layer.cjx")
    np.testing.assert_array_equal(loaded(X)["y"], wanted["y"])
    assert fake.emits + fake.packed_emits == emits
    assert loaded.has_kernels == (True,) and loaded.why_plain == (None,)
    assert repr(loaded) == "<collage_jax.load of layer: 1 signature>"
    stored = [np.load(io.BytesIO(data)) for name, data in exported.members.items() if name.endswith(".npy")]
    assert any(np.array_equal(array, -np.ravel(W["w"])) for array in stored)  # as the backend keeps it


def test_explain_says_what_runs_what(fake):
    text = there_and_back(frozen_layer(), W, X).explain()
    assert "layer, made with jax" in text and "args[0]: float32[3,4] -> float32[3,2]" in text and "fake" in text


def test_the_same_contents_are_the_same_bytes(fake):
    decorated = frozen_layer()
    one, other = (collage_jax.export(decorated, W, X).serialize() for _ in range(2))
    assert one == other
    assert collage_jax.load(one, compile=False).digest == collage_jax.load(other, compile=False).digest


def test_several_signatures_share_their_arrays(fake):
    shorter = jax.ShapeDtypeStruct((2, 4), jnp.float32)
    exported = collage_jax.export(frozen_layer(), W, X, also=[(W, shorter), (W, X[:1])])
    assert len(exported.manifest.arrays) == len(collage_jax.export(frozen_layer(), W, X).manifest.arrays)
    loaded = collage_jax.load(exported.serialize())
    for rows in (3, 2, 1):
        assert_like_jit(loaded(X[:rows]), layer(W, X[:rows]))
    assert [args[0].shape for args, _ in loaded.signatures] == [(3, 4), (2, 4), (1, 4)]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param((X[:, :3],), id="shape"),
        pytest.param((X.astype(jnp.int32),), id="dtype"),
        pytest.param((W, X), id="frozen arguments too"),
        pytest.param(({"x": X},), id="structure"),
        pytest.param((), id="nothing"),
    ],
)
def test_other_arguments_are_refused(exported, fake, wrong):
    loaded = collage_jax.load(exported.serialize(), compile=False)
    said = r"layer must be called with .*args\[0\]: float32\[3,4\].*, got .*; pass those .* or export it with these"
    with pytest.raises(TypeError, match=said):
        loaded(*wrong)
    assert_like_jit(loaded(X), layer(W, X))


def test_static_arguments_are_part_of_the_program_and_named_ones_stay(fake):
    @partial(collage_jax.jit, static_argnums=0, static_argnames="times")
    def scaled(power, x, times, *, shift):
        return (x @ W["w"]) ** power * times + shift

    loaded = there_and_back(scaled, 2, X, kwargs={"times": 3, "shift": X[0, :2]})
    assert_like_jit(loaded(X, shift=X[1, :2]), (X @ W["w"]) ** 2 * 3 + X[1, :2])


def test_a_donated_argument_gives_up_its_memory(fake):
    step = collage_jax.jit(lambda w, x: (w["w"] + x.T @ (x @ w["w"]), x.sum()), donate_argnums=0)
    loaded = there_and_back(step, {"w": W["w"]}, X)
    given = {"w": jnp.array(W["w"])}
    result, _ = loaded(given, X)
    assert given["w"].is_deleted()
    assert_like_jit(result, W["w"] + X.T @ (X @ W["w"]))


DTYPES = (jnp.bfloat16, jnp.float16, jnp.int32, jnp.int8, jnp.uint8, jnp.float8_e4m3fn, jnp.complex64, jnp.bool_)


def test_numbers_of_any_dtype_travel_frozen_and_passed(fake):
    def everything(frozen, x, others):
        return x @ W["w"], jax.tree.map(lambda a, b: (a, b), frozen, others)

    frozen = {np.dtype(dtype).name: jnp.arange(6).reshape(3, 2).astype(dtype) for dtype in DTYPES}
    frozen["none"] = jnp.zeros((0, 3))
    others = jax.tree.map(lambda a: a.T, frozen)
    loaded = there_and_back(collage_jax.jit(everything, frozen_argnums=0), frozen, X, others)
    assert_like_jit(loaded(X, others), everything(frozen, X, others))


def test_random_keys_travel_frozen_and_passed(fake):
    def drop(keys, x, key):
        return x @ W["w"] + jax.random.normal(keys[0], (2,)) * jax.random.uniform(key)

    keys = jax.random.split(jax.random.key(3), 2)
    loaded = there_and_back(collage_jax.jit(drop, frozen_argnums=0), keys, X, jax.random.key(4))
    assert_like_jit(loaded(X, jax.random.key(5)), drop(keys, X, jax.random.key(5)))


Pair = collections.namedtuple("Pair", "first second")
jax.export.register_namedtuple_serialization(Pair, serialized_name="test_export.Pair")


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Output:
    logits: jax.Array
    pair: Pair


jax.export.register_pytree_node_serialization(
    Output,
    serialized_name="test_export.Output",
    serialize_auxdata=lambda aux: b"",
    deserialize_auxdata=lambda data: (),
)


def test_results_are_trees_as_jax_export_has_them(fake):
    loaded = there_and_back(collage_jax.jit(lambda x: Output(x @ W["w"], Pair(x, [x.sum()]))), X)
    got = loaded(X)
    assert isinstance(got, Output) and isinstance(got.pair, Pair)
    assert_like_jit(got, Output(X @ W["w"], Pair(X, [X.sum()])))


def test_a_method_and_an_undecorated_function_can_be_exported(fake):
    @jax.tree_util.register_pytree_node_class
    class Model:
        def __init__(self, w):
            self.w = w

        def tree_flatten(self):
            return (self.w,), None

        @classmethod
        def tree_unflatten(cls, _, children):
            return cls(*children)

        @partial(collage_jax.jit, frozen_argnums=0)
        def apply(self, x):
            return x @ self.w

    assert_like_jit(there_and_back(Model(W["w"]).apply, X)(X), X @ W["w"])
    assert_like_jit(there_and_back(layer, W, X, frozen_argnums=0)(X), layer(W, X))


def test_where_xla_alone_is_fastest_it_runs_all_and_nothing_is_warned_of(monkeypatch):
    use(monkeypatch, Fake("fake"), ours_s=1e-2, xla_s=1e-3)
    loaded = there_and_back(frozen_layer(), W, X)
    assert loaded.has_kernels == (False,) and loaded.why_plain == (None,)
    assert_like_jit(loaded(X), layer(W, X))


# -- transformations and threads -------------------------------------------------------------------------------------


def test_it_is_part_of_a_larger_program_under_jit(fake):
    loaded = there_and_back(frozen_layer(), W, X)
    assert_like_jit(jax.jit(lambda x: loaded(2 * x)["y"] + 1)(X), layer(W, 2 * X)["y"] + 1)


def test_vmap_and_derivatives_that_are_not_there_are_refused(fake):
    loaded = there_and_back(frozen_layer(), W, X)
    with pytest.raises(NotImplementedError, match="call_exported"):
        jax.vmap(loaded)(X[None])
    with pytest.raises(ValueError, match=r"layer must have been exported with its derivatives .* vjp_order=1"):
        jax.grad(lambda x: loaded(x)["y"].sum())(X)


def test_derivatives_come_as_often_as_asked_for(fake):
    loaded = there_and_back(frozen_layer(), W, X, vjp_order=2)
    assert loaded.has_kernels == (True,)

    def slope(f):
        return lambda x: jax.grad(lambda x: f(x)["y"].sum())(x)

    def curve(f):
        return lambda x: jax.grad(lambda x: slope(f)(x).sum())(x)

    for derivative in (slope, curve):
        assert_like_jit(derivative(loaded)(X), derivative(partial(layer, W))(X))


def test_many_threads_call_it_at_once(fake):
    loaded = collage_jax.load(collage_jax.export(frozen_layer(), W, X, also=[(W, X[:1])]).serialize(), compile=False)
    wanted = {rows: np.asarray(layer(W, X[:rows])["y"]) for rows in (1, 3)}
    wrong = []

    def call():
        for i in range(20):
            rows = 1 + 2 * (i % 2)
            if not np.allclose(loaded(X[:rows])["y"], wanted[rows], rtol=1e-6):
                wrong.append(rows)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# -- where kernels cannot run ----------------------------------------------------------------------------------------


def _gone(monkeypatch, fake):
    known = {XLA: registry.reference()}
    monkeypatch.setattr(discovery, "builtin", lambda: known)
    return "there is no backend called 'fake' here"


def _unavailable(monkeypatch, fake):
    monkeypatch.setattr(fake, "available", lambda: collage_jax.Unsupported("its library is not installed"))
    return "fake cannot be used here: its library is not installed"


def _other_version(monkeypatch, fake):
    monkeypatch.setattr(fake, "version", lambda: "2/avx2/2t")
    return "it was made with fake .*, here is 2/avx2/2t"


@pytest.mark.parametrize("lack", [_gone, _unavailable, _other_version])
def test_where_a_kernel_cannot_run_xla_does_with_one_warning(fake, monkeypatch, lack):
    monkeypatch.setattr(fake, "version", lambda: "1/avx512/16t")
    data = collage_jax.export(frozen_layer(), W, X, also=[(W, X[:1])]).serialize()
    smaller = collage_jax.export(frozen_layer(), W, X, fallback=False).serialize()
    assert len(smaller) < len(data)
    why = lack(monkeypatch, fake)
    with pytest.warns(RuntimeWarning, match=f"layer runs by XLA alone, without the kernels .*: {why}") as caught:
        loaded = collage_jax.load(data)
    assert len(caught) == 1
    assert loaded.has_kernels == (False, False)
    assert len(loaded.why_plain) == 2 and all(re.search(why, said or "") for said in loaded.why_plain)
    assert repr(loaded) == "<collage_jax.load of layer: 2 signatures>"
    assert "XLA alone runs this here" in loaded.explain()
    np.testing.assert_array_equal(loaded(X)["y"], jax.jit(layer)(W, X)["y"])
    with pytest.raises(RuntimeError, match=f"{why}; export it here, or load it with strict=False"):
        collage_jax.load(data, strict=True)
    with pytest.raises(ValueError, match=f"its kernels cannot run here and it has no fallback .{why}"):
        collage_jax.load(smaller)


def test_another_number_of_threads_is_no_other_version(fake, monkeypatch):
    monkeypatch.setattr(fake, "version", lambda: "1/avx512/16t")
    data = collage_jax.export(frozen_layer(), W, X).serialize()
    monkeypatch.setattr(fake, "version", lambda: "1/avx512/4t")
    assert collage_jax.load(data).has_kernels == (True,)


def test_a_kernel_that_cannot_be_built_here_is_noticed_when_it_is_loaded(untimed):
    pytest.importorskip("collage_jax._kernels", reason="our own kernels were not built")
    big, small = jnp.ones((64, 64)), jnp.ones((8, 64))
    exported = collage_jax.export(lambda w, x: jnp.tanh(x @ w), big, small, frozen_argnums=0)
    assert exported.placements[0].counts().keys() - {XLA}
    members = dict(exported.members)
    # As if another version of the kernels had made it.
    placed = members["0/placed.jax_export"]
    (version,) = set(exported.manifest.signatures[0].backends.values())
    number = version.partition("/")[0].encode()
    assert placed.count(b"version") and placed.count(number)
    members["0/placed.jax_export"] = placed.replace(number, b"~" * len(number))
    with pytest.warns(RuntimeWarning, match="a kernel cannot be built here: .*this program was compiled for"):
        loaded = collage_jax.load(repacked(exported, members))
    assert_like_jit(loaded(small), jnp.tanh(small @ big))


def test_what_is_switched_off_stays_off_in_what_is_loaded(fake, monkeypatch):
    plain = np.asarray(jax.jit(layer)(W, X)["y"])
    fake.change = lambda kernel: lambda *arrays: [y * (1 + 1e-6) for y in kernel(*arrays)]
    data = collage_jax.export(frozen_layer(), W, X).serialize()
    loaded = collage_jax.load(data)
    placed = np.asarray(loaded(X)["y"])
    assert not np.array_equal(placed, plain)
    for off in (
        collage_jax.disabled(),
        collage_jax.disabled(backends=["fake"]),
        collage_jax.disabled(regions=["dot_general"]),
    ):
        with off:
            np.testing.assert_array_equal(loaded(X)["y"], plain)
            np.testing.assert_array_equal(jax.jit(lambda x: loaded(x)["y"])(X), plain)
    np.testing.assert_array_equal(loaded(X)["y"], placed)
    monkeypatch.setattr(config, "tune", "off")
    quiet = collage_jax.load(data)
    assert quiet.has_kernels == (False,)
    assert "switched off" in quiet.why_plain[0]


# -- frozen arguments that come later --------------------------------------------------------------------------------


def test_frozen_arguments_can_come_when_it_is_loaded(fake):
    shapes = jax.eval_shape(lambda: W)
    exported = collage_jax.export(frozen_layer(), shapes, X, bake_frozen=False)
    assert not [name for name in exported.members if name.endswith(".npy")]
    doubled = jax.tree.map(lambda a: 2 * a, W)
    for weights in (W, doubled):
        loaded = collage_jax.load(exported.serialize(), weights)
        assert loaded.has_kernels == (True,)
        assert_like_jit(loaded(X), layer(weights, X))
        with collage_jax.disabled():
            np.testing.assert_array_equal(loaded(X)["y"], jax.jit(layer)(weights, X)["y"])


@pytest.mark.parametrize(
    ("frozen", "said"),
    [
        ((), r"must be loaded with its frozen arguments, load\(path, \*frozen\), got 0"),
        (({"w": W["w"]},), "frozen arguments must have the structure"),
        (({**W, "b": jnp.ones(3)},), r"array 0 of the frozen arguments must be float32\[2\], got float32\[3\]"),
    ],
)
def test_frozen_arguments_that_do_not_fit_are_refused(fake, frozen, said):
    data = collage_jax.export(frozen_layer(), W, X, bake_frozen=False).serialize()
    with pytest.raises(TypeError, match=said):
        collage_jax.load(data, *frozen)


def test_weights_from_orbax_and_the_program_from_its_file(fake, tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint", reason="orbax-checkpoint is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(tmp_path / "weights", W)
        collage_jax.export(frozen_layer(), W, X, bake_frozen=False, path=tmp_path / "layer.cjx")
        with ocp.StandardCheckpointer() as checkpointer:
            weights = checkpointer.restore(tmp_path / "weights", jax.eval_shape(lambda: W))
    assert_like_jit(collage_jax.load(tmp_path / "layer.cjx", weights)(X), layer(W, X))


# -- what cannot be exported -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        (lambda: collage_jax.export(frozen_layer(), jax.eval_shape(lambda: W), X), ValueError, "bake_frozen=False"),
        (lambda: collage_jax.export(frozen_layer(), W, X, backends=["xla"]), TypeError, "give them to collage_jax.jit"),
        (
            lambda: collage_jax.export(frozen_layer(), W, X, vjp_order=1, fallback=False),
            ValueError,
            "leave fallback out",
        ),
        (lambda: collage_jax.export(3, X), TypeError, "`fun` must be callable"),
        (
            lambda: collage_jax.export(layer, W, jax.ShapeDtypeStruct(jax.export.symbolic_shape("n, 4"), jnp.float32)),
            ValueError,
            "sizes must be numbers, .* in `also`",
        ),
    ],
)
def test_what_cannot_be_exported_is_said(fake, how, error, said):
    with pytest.raises(error, match=said):
        how()


def test_jax_export_takes_symbolic_sizes(fake):
    decorated = frozen_layer()
    shapes = jax.ShapeDtypeStruct(jax.export.symbolic_shape("n, 4"), jnp.float32)
    program = jax.export.export(decorated)(W, shapes)
    for rows in (1, 3):
        x = jnp.ones((rows, 4))
        assert_like_jit(program.call(W, x), jax.jit(layer)(W, x))
    assert "symbolic sizes" in decorated.explain(W, shapes)


# -- jax.export itself -----------------------------------------------------------------------------------------------


def test_jax_export_takes_kernels_on_request_alone():
    site = Site(jax.make_jaxpr(lambda x: (x + 1,))(X), lambda _: None, "next", lambda x: [x - 1])
    placed = jax.jit(lambda x: primitive.bind([x], site)[0])
    with collage_jax.exporting() as checks:
        exported = jax.export.deserialize(jax.export.export(placed, disabled_checks=checks)(X).serialize())
    assert_like_jit(exported.call(X), X - 1)
    assert_like_jit(jax.export.export(placed)(X).call(X), X + 1)


def test_jax_export_of_a_decorated_function_holds_its_calls(untimed):
    pytest.importorskip("collage_jax._kernels", reason="our own kernels were not built")
    w, x = jnp.ones((64, 64)), jnp.ones((8, 64))
    decorated = collage_jax.jit(lambda w, x: jnp.tanh(x @ w), frozen_argnums=0)
    with collage_jax.exporting() as checks:
        exported = jax.export.export(decorated, disabled_checks=checks)(w, x)
    assert "stablehlo.custom_call @collage_" in exported.mlir_module()
    assert "custom_call" not in jax.export.export(decorated)(w, x).mlir_module()
    assert_like_jit(jax.export.deserialize(exported.serialize()).call(w, x), jnp.tanh(x @ w))


# -- hostile files ---------------------------------------------------------------------------------------------------


def repacked(exported, members=None, edit=None, how=zipfile.ZIP_STORED, extra=()):
    """The file with other members, whose sizes and digests its manifest has, and that edited."""
    members = dict(exported.members if members is None else members)
    described = {name: Member.of(data) for name, data in members.items()}
    document = json.loads(dataclasses.replace(exported.manifest, members=described).to_json())
    if edit is not None:
        edit(document)
    written = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(written, "w", how) as archive:
        warnings.simplefilter("ignore")  # a name that is there twice
        for name, data in (("manifest.json", json.dumps(document)), *members.items(), *extra):
            archive.writestr(name, data)
    return written.getvalue()


def _packed(exported):
    """The member with the first array that kernels take."""
    return exported.manifest.arrays[exported.manifest.signatures[0].packed[0]].file


def _flipped(exported):
    data = bytearray(exported.serialize())
    at = data.index(exported.members[_packed(exported)]) + 130
    data[at] ^= 1
    return bytes(data)


def _calls_python(exported):
    def run(held, /, x):
        callback = jax.ffi.ffi_call("xla_ffi_python_cpu_callback", [jax.ShapeDtypeStruct((3, 2), jnp.float32)])
        return {"y": callback(x, index=np.uint64(0))[0]}

    allowed = [jax.export.DisabledSafetyCheck.custom_call("xla_ffi_python_cpu_callback")]
    program = jax.export.export(jax.jit(run), disabled_checks=allowed)([W["b"]], X)
    return repacked(exported, {**exported.members, "0/plain.jax_export": bytes(program.serialize())}, _no_kernels)


def _no_kernels(document):
    document["signatures"][0]["placed"] = None


def _array(data):
    return lambda exported: repacked(exported, {**exported.members, _packed(exported): data})


def _header(text):
    header = text.encode() + b" " * (117 - len(text)) + b"\n"
    return _array(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 8)


def _edited(*path_and_value):
    *path, last, value = path_and_value

    def edit(document):
        for step in path:
            document = document[step]
        document[last] = value

    return lambda exported: repacked(exported, edit=edit)


def _about_packed(name, value, about="arrays"):
    def spoil(exported):
        file = _packed(exported)
        place = file if about == "members" else [a.file for a in exported.manifest.arrays].index(file)
        return _edited(about, place, name, value)(exported)

    return spoil


def _zip(members):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return written.getvalue()


HOSTILE = {
    "nothing": (lambda e: b"", "must be a whole zip"),
    "text": (lambda e: b"hello", "must be a whole zip"),
    "cut short": (lambda e: e.serialize()[:-200], "must be a whole zip"),
    "cut in the middle": (lambda e: e.serialize()[: len(e.serialize()) // 2], "must be a whole zip"),
    "a bit of an array": (_flipped, r"arrays/\d.npy (cannot be read|must have the size and the digest)"),
    "compressed": (lambda e: repacked(e, how=zipfile.ZIP_DEFLATED), "is compressed, and none must be"),
    "twice": (lambda e: repacked(e, extra=[("arrays/0.npy", b"")]), "is there twice"),
    "one more": (lambda e: repacked(e, extra=[("../evil.py", b"")]), r"no others, has '../evil.py'"),
    "no manifest": (lambda e: _zip({"a": b""}), "must have a member 'manifest.json'"),
    "manifest not JSON": (lambda e: _zip({"manifest.json": b"{"}), "must be JSON"),
    "manifest not text": (lambda e: _zip({"manifest.json": b"\xff"}), "must be text in UTF-8"),
    "manifest too deep": (lambda e: _zip({"manifest.json": b"[" * 100000}), "this deep inside each other"),
    "manifest of others": (_edited("kind", "other"), "kind must be 'collage_jax.program', got 'other'"),
    "newer": (_edited("format", 99), "format must be at most 1"),
    "no signature": (_edited("signatures", []), "must be a list of one signature or more"),
    "no program": (
        lambda e: repacked(e, edit=lambda d: d["signatures"][0].update(placed=None, plain=None)),
        "a program",
    ),
    "no such array": (_edited("signatures", 0, "packed", [99]), "whose arrays are among the"),
    "no such member": (_edited("signatures", 0, "placed", "../../etc/passwd"), "'../../etc/passwd' among them"),
    "negative": (_edited("signatures", 0, "packed", [-1]), "a whole number of 0 or more"),
    "digest": (_about_packed("sha256", "0" * 64, "members"), "must have the size and the digest"),
    "size": (_about_packed("bytes", 1, "members"), "must have the size and the digest"),
    "no dtype": (_about_packed("dtype", "object"), "must be the name of a dtype of numbers, got 'object'"),
    "other dtype": (_about_packed("dtype", "int32"), "must be an array int32"),
    "other shape": (_about_packed("shape", [1 << 50]), "must be an array float32"),
    "objects": (_header("{'descr': '|O', 'fortran_order': False, 'shape': (2,)}"), "must be an array float32"),
    "code for a header": (_header("__import__('os').abort()"), "in NumPy's format 1.0"),
    "an array of another": (_array(b"junk"), "in NumPy's format 1.0"),
    "a program of junk": (
        lambda e: repacked(e, {**e.members, "0/placed.jax_export": b"\0" * 64}),
        "0/placed.jax_export must be a program that jax",
    ),
    "a placement of junk": (
        lambda e: repacked(e, {**e.members, "0/placement.json": b"[]"}),
        "must be an object|must have the member",
    ),
    "Python's functions": (
        _calls_python,
        "must call what is registered here alone, it calls xla_ffi_python_cpu_callback",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_damaged_or_hostile_file_is_one_clear_error(exported, fake, name):
    spoil, said = HOSTILE[name]
    data = spoil(exported)
    with pytest.raises(ValueError, match=said) as caught:
        collage_jax.load(data)
    assert ";" in str(caught.value)  # the remedy
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(TypeError, match="by its path or as bytes, got int"):
        collage_jax.load(5)
    with pytest.raises(FileNotFoundError, match=r"must be a file that can be read \(No such"):
        collage_jax.load(tmp_path / "nothing.cjx")


def test_a_file_is_written_whole_or_not_at_all(fake, tmp_path, monkeypatch):
    exported = collage_jax.export(frozen_layer(), W, X)
    path = tmp_path / "layer.cjx"
    path.write_text("before")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        exported.save(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


# -- in a fresh process, with real kernels ---------------------------------------------------------------------------


def network(weights, x):
    for kernel in weights["kernels"]:
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x + weights["bias"])
    return jax.nn.softmax(x.mean((1, 2)) @ weights["head"])


FRESH = """
import sys
import jax.monitoring
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name) if name.endswith("/cache_hits") else None)
import collage_jax, numpy as np
from collage_jax.calls import deciding
deciding.decide = None  # nothing may be tuned, nor a decision be asked for
folder = sys.argv[1]
given = np.load(f"{folder}/given.npz")
loaded = collage_jax.load(f"{folder}/network.cjx", strict=True)
assert loaded.has_kernels == (True, True), loaded.why_plain
for name in ("one", "two"):
    np.testing.assert_array_equal(loaded(given[name]), given[f"{name}_wanted"])
print(len(hits), "found compiled")
"""


def test_a_fresh_process_runs_the_same_kernels_also_from_the_compilation_cache(tmp_path, compilation_cache, untimed):
    pytest.importorskip("collage_jax._kernels", reason="our own kernels were not built")
    rng = np.random.default_rng(0)

    def drawn(*shape):
        return jnp.asarray(rng.standard_normal(shape) / 8, jnp.float32)

    weights = {"kernels": [drawn(3, 3, 16, 16)] * 2, "bias": drawn(16), "head": drawn(16, 10)}
    one, two = drawn(1, 12, 12, 16), drawn(2, 12, 12, 16)
    decorated = collage_jax.jit(network, frozen_argnums=0)
    exported = collage_jax.export(decorated, weights, one, also=[(weights, two)], path=tmp_path / "network.cjx")
    assert all(placement.counts().keys() - {XLA} for placement in exported.placements)
    wanted = {"one_wanted": decorated(weights, one), "two_wanted": decorated(weights, two)}
    np.testing.assert_allclose(wanted["two_wanted"], jax.jit(network)(weights, two), atol=1e-5)
    np.savez(tmp_path / "given.npz", one=one, two=two, **wanted)
    for run in range(2):
        command = [sys.executable, "-P", "-c", textwrap.dedent(FRESH), str(tmp_path)]
        done = subprocess.run(command, env=compilation_cache, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert (int(done.stdout.split()[0]) > 0) == (run == 1)


# -- the command line ------------------------------------------------------------------------------------------------

PROGRAM = """
import jax.numpy as jnp

def layer(w, x):
    return {"y": jnp.tanh(x @ w["w"] + w["b"])}

def make():
    return layer, ({"w": jnp.full((4, 2), 0.5), "b": jnp.ones(2)}, jnp.ones((3, 4)))
"""


def test_a_file_is_made_run_and_timed_on_the_command_line(fake, tmp_path, capsys):
    (tmp_path / "program.py").write_text(PROGRAM)
    path = str(tmp_path / "layer.cjx")
    main(["export", f"{tmp_path / 'program.py'}:make", "-o", path, "--frozen", "0"])
    assert f"Written to {path}: 0.0 MB (fake: 1 regions" in capsys.readouterr().out
    assert collage_jax.load(path)(X)["y"].shape == (3, 2)
    main(["run", path])
    printed = capsys.readouterr().out
    assert "layer, made with jax" in printed and "args[0]: float32[3,4]: called in" in printed
    main(["run", path, "--bench", "--rounds", "3", "--json"])
    assert json.loads(capsys.readouterr().out).keys() == {"program", "rounds", "ms", "ratio"}
    with pytest.raises(SystemExit, match=r"collage-jax: .*program.py: must be a whole zip"):
        main(["run", str(tmp_path / "program.py")])
