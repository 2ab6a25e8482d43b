"""The contract suite: a backend that breaks one rule is caught by the check of that rule and by no other."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import collage_jax
from collage_jax import Backend, PreparedKernel, Proposal, Unsupported
from collage_jax.backends import registry
from collage_jax.costs import Measured
from collage_jax.graph.ir import Constant, Value
from collage_jax.patterns import Pattern, any_, op
from collage_jax.sites import primitive
from collage_jax.testing import (
    BackendContract,
    ContractViolation,
    Effort,
    arguments,
    backend_contract,
    case,
    check_backend,
)
from collage_jax.testing.checks import CHECKS, transformations
from collage_jax.testing.contract import check_subject
from collage_jax.testing.data import inputs
from collage_jax.testing.findings import Skipped
from collage_jax.testing.programs import standard
from collage_jax.testing.samples import program_of, standard_programs
from collage_jax.testing.sampling import random_regions, varied
from collage_jax.testing.subject import Subject

LITTLE = Effort(examples=2, regions=6, asked=2, sampled=2, placed=1, threads=2)
#: Without the checks that compile again and again, which are quick to pass.
LEAST = Effort(examples=2, regions=6, asked=2, sampled=0, placed=0, threads=2)
ELSEWHERE = ("processes", "cache")

DOT_TANH = Pattern("dot+tanh", op("tanh")(op("dot_general")(any_("x"), any_("w"))))


def layer(x: Any, w: Any) -> Any:
    return jnp.tanh(x @ w)


def halves(x: Any, w: Any) -> Any:
    return jnp.tanh(x.astype(jnp.bfloat16) @ w.astype(jnp.bfloat16)) + 1


CASE = case(layer, jnp.ones((4, 6)), jax.ShapeDtypeStruct((6, 3), jnp.float32))
#: A program of which the backend below takes nothing, and one it proposes a region of and refuses it.
OTHERS = tuple(program_of(each, each.args, own=False) for each in (
    case(lambda x: jnp.cumsum(jax.nn.softmax(x), 0), jnp.ones((3, 5))),
    case(halves, jnp.ones((4, 6)), jnp.ones((6, 3))),
))  # fmt: skip


class Good(Backend):
    """Products in float32 with tanh, by JAX's own operations."""

    name = "good"
    patterns = (DOT_TANH,)

    def supports(self, region):
        if region.ops != ("dot_general", "tanh"):
            return Unsupported(f"it runs a product and tanh, got {'+'.join(region.ops)}")
        if any(v.dtype != jnp.float32 for v in (*region.entries, *region.exits)):
            return Unsupported("it takes float32")
        return None

    def emit(self, region):
        reason = self.supports(region)
        if reason is not None:
            raise ValueError(reason.reason)
        return self.kernel(region.nodes[0].params["dimension_numbers"])

    def kernel(self, dims) -> Callable[..., Any]:
        return lambda x, w: jnp.tanh(lax.dot_general(x, w, dims))

    def emit_frozen(self, region, frozen):
        if region.entries[1] not in frozen or region.entries[0] in frozen:
            return None
        dims = region.nodes[0].params["dimension_numbers"]
        return PreparedKernel(lambda w: (w.ravel(), w[:0]), self.prepared(dims, region.entries[1].shape))

    def prepared(self, dims, shape) -> Callable[..., Any]:
        return lambda flat, _, x: jnp.tanh(lax.dot_general(x, flat.reshape(shape), dims))


def subject(backend: Backend, cases=(CASE,), *, strict: bool = False, others=OTHERS, effort=LITTLE) -> Subject:
    return Subject(backend, cases, effort, strict, others)


def broken(tested: Subject, checks=tuple(c for c in CHECKS if c not in ELSEWHERE)) -> dict[str, list[str]]:
    """What is wrong by check, those that find nothing left out."""
    found: dict[str, list[str]] = {}
    for name in checks:
        try:
            wrong = list(CHECKS[name](tested))
        except Skipped:
            continue
        assert all(v.check == name and v.rule and v.got and v.remedy for v in wrong)
        if wrong:
            found[name] = [str(v) for v in wrong]
    return found


def test_a_good_backend_is_not_blamed():
    assert broken(subject(Good(), strict=True)) == {}


# One rule broken each. What is said must hold the text beside it.

BROKEN: list[tuple[str, str, type[Good]]] = []


def breaks(check: str, says: str):
    def add(backend: type[Good]) -> type[Good]:
        BROKEN.append((check, says, backend))
        return backend

    return add


@breaks("description", "kind must be one of")
class OfNoKind(Good):
    kind = "kernels"


@breaks("description", "`platforms` must name a platform")
class Nowhere(Good):
    platforms = ()


@breaks("description", "the same each time")
class CountsVersions(Good):
    counter = itertools.count()

    def version(self):
        return str(next(self.counter))


@breaks("description", "something in it")
class WithoutVersion(Good):
    def version(self):
        return " "


@breaks("description", "OSError: no library")
class FailsToLoad(Good):
    def available(self):
        raise OSError("no library")


@breaks("description", "say why it cannot be used")
class UnavailableForNoReason(Good):
    def available(self):
        return Unsupported("")


@breaks("refusals", "IndexError")
class KnowsOnlyItsOwn(Good):
    def supports(self, region):
        return Unsupported("no product") if region.nodes[0].inputs[1].ndim != 2 else super().supports(region)


@breaks("refusals", "got False")
class RefusesWithFalse(Good):
    def supports(self, region):
        return None if super().supports(region) is None else False


@breaks("refusals", "say why in words")
class RefusesSilently(Good):
    def supports(self, region):
        return None if super().supports(region) is None else Unsupported("")


@breaks("refusals", "`propose` must not raise")
class FailsToPropose(Good):
    def propose(self, graph):
        yield from super().propose(graph)
        raise KeyError("axis")


@breaks("refusals", "nodes of the graph")
class ProposesNothing(Good):
    def propose(self, graph):
        yield from super().propose(graph)
        yield Proposal((), "nothing")


@breaks("refusals", "must have a label")
class ProposesWithoutLabels(Good):
    def propose(self, graph):
        return [Proposal(p.nodes, "") for p in super().propose(graph)]


@breaks("refusals", "must give Proposals")
class ProposesNodes(Good):
    def propose(self, graph):
        yield from super().propose(graph)
        yield from graph.nodes[:1]


@breaks("cases", "it takes float32")
class TakesNothing(Good):
    def supports(self, region):
        return super().supports(region) or Unsupported("it takes float32 in July")


@breaks("honesty", "`emit` failed: NotImplementedError")
class CannotEmit(Good):
    def kernel(self, dims):
        raise NotImplementedError


@breaks("honesty", "traced and compiled, failed: TracerArrayConversionError")
class CannotBeTraced(Good):
    def kernel(self, dims):
        return lambda x, w: np.tanh(np.asarray(x) @ np.asarray(w))


@breaks("honesty", "the compiled kernel failed")
class CannotRun(Good):
    def kernel(self, dims):
        def fail(y):
            raise ValueError("out of scratch")

        good = super().kernel(dims)
        return lambda x, w: jax.pure_callback(fail, jax.ShapeDtypeStruct((4, 3), jnp.float32), good(x, w))


@breaks("honesty", "equal questions must have equal answers")
class ChangesItsMind(Good):
    asked = 0

    def propose(self, graph):
        self.asked += 1
        found = list(super().propose(graph))
        return found if self.asked % 3 else [Proposal(p.nodes, p.label, Unsupported("not now")) for p in found]


@breaks("honesty", "asked about an equal graph")
class KnowsObjects(Good):
    def __init__(self):
        self.seen = {}

    def propose(self, graph):
        for proposal in super().propose(graph):
            key = tuple(node.op for node in proposal.nodes)
            if self.seen.setdefault(key, proposal.nodes[0]) is proposal.nodes[0]:
                yield proposal


@breaks("honesty", "must not change the graphs")
class ChangesParameters(Good):
    def propose(self, graph):
        for node in graph.nodes:
            if node.op == "dot_general":
                node.params["dimension_numbers"] = (*node.params["dimension_numbers"],)
        return super().propose(graph)


@breaks("honesty", "serve otherwise what `supports` refuses")
class ServesWhatItRefuses(Good):
    def emit(self, region):
        return super().emit(region) if self.supports(region) is None else lambda *arrays: jnp.zeros(())


@breaks("honesty", "`cost` must return None or Measured")
class CostsNotANumber(Good):
    def cost(self, region):
        return Measured(float("nan"))


@breaks("agreement", "of the largest on normal numbers")
class ALittleOff(Good):
    def kernel(self, dims):
        return lambda x, w: jnp.tanh(lax.dot_general(x, w, dims)) * 1.0001


@breaks("agreement", "a kernel that returns float16[4, 3]")
class OfAnotherDtype(Good):
    def kernel(self, dims):
        return lambda x, w: jnp.tanh(lax.dot_general(x, w, dims)).astype(jnp.float16)


@breaks("agreement", "float32[3, 4]")
class OfAnotherShape(Good):
    def kernel(self, dims):
        return lambda x, w: jnp.tanh(lax.dot_general(x, w, dims)).T


@breaks("agreement", "on wide numbers")
class ForSmallNumbers(Good):
    def kernel(self, dims):
        return lambda x, w: jnp.tanh(lax.dot_general(jnp.clip(x, -9, 9), w, dims))


@breaks("agreement", "others for NaN in operand 0")
class DropsNan(Good):
    def kernel(self, dims):
        return lambda x, w: jnp.tanh(lax.dot_general(jnp.nan_to_num(x, posinf=jnp.inf, neginf=-jnp.inf), w, dims))


@breaks("determinism", "same bits each time")
class Trembles(Good):
    counter = itertools.count()

    def tremble(self, y):
        return y * np.float32(1 + 2**-23 * (next(self.counter) % 2))

    def kernel(self, dims):
        good = super().kernel(dims)
        return lambda x, w: jax.pure_callback(self.tremble, jax.ShapeDtypeStruct((4, 3), jnp.float32), good(x, w))


@breaks("determinism", "emitted again")
class EmitsDifferently(Good):
    counter = itertools.count()

    def kernel(self, dims):
        scale = 1 + 2**-23 * (next(self.counter) % 2)
        return lambda x, w: jnp.tanh(lax.dot_general(x, w, dims)) * scale


@breaks("threads", "threads must be able to use a backend at once")
class KeepsStateInItself(Good):
    def kernel(self, dims):
        self.mine = threading.get_ident()
        time.sleep(0.02)
        scale = 1.0 if self.mine == threading.get_ident() else 2.0
        return lambda x, w: jnp.tanh(lax.dot_general(x, w, dims)) * scale


@breaks("frozen", "with frozen operands results must be XLA's")
class PacksWrongly(Good):
    def prepared(self, dims, shape):
        return lambda flat, _, x: jnp.tanh(lax.dot_general(x, flat[::-1].reshape(shape), dims))


@breaks("frozen", "`prepare` must make arrays")
class PreparesTrees(Good):
    def emit_frozen(self, region, frozen):
        kernel = super().emit_frozen(region, frozen)
        return kernel and PreparedKernel(lambda w: ({"packed": w},), kernel.run)


@breaks("frozen", "None or a PreparedKernel")
class PreparesAFunction(Good):
    def emit_frozen(self, region, frozen):
        return lambda w: w


@breaks("frozen", "must not raise")
class FreezesTheSecondAlone(Good):
    def emit_frozen(self, region, frozen):
        (only,) = frozen
        return super().emit_frozen(region, frozenset((only,)))


@breaks("frozen", "must be compiled and run")
class TakesOthersFirst(Good):
    def prepared(self, dims, shape):
        good = super().prepared(dims, shape)
        return lambda x, flat, empty: good(flat, empty, x)


@breaks("transformations", "of a placed function must do")
class KeepsTracers(Good):
    def kernel(self, dims):
        held: list[Any] = []

        def run(x, w):
            held.append(jnp.ones(()) * w[0, 0])
            return jnp.tanh(lax.dot_general(x, w, dims)) + held[0] * 0

        return run


@pytest.fixture
def only_calls(monkeypatch):
    """Nothing stands around placed functions: each transformation is a program to compile."""
    monkeypatch.setattr(transformations, "AROUND", {"a call": transformations.AROUND["a call"]})


EACH = pytest.mark.parametrize(("check", "says", "kind"), BROKEN, ids=[kind.__name__ for _, _, kind in BROKEN])


@EACH
def test_a_broken_rule_is_caught_by_its_check_alone(check, says, kind, request):
    if check != "transformations":
        request.getfixturevalue("only_calls")
    compiles = check in ("determinism", "threads", "frozen", "transformations")
    found = broken(subject(kind(), effort=LITTLE if compiles else LEAST))
    assert list(found) == [check], found
    assert says in "\n".join(found[check])


@pytest.mark.slow
@pytest.mark.parametrize("kind", {check: kind for check, _, kind in reversed(BROKEN)}.values())
def test_no_other_check_finds_it_however_hard_it_looks(kind):
    assert [check for check, _, each in BROKEN if each is kind] == list(broken(subject(kind())))


class ServesAnything(Good):
    """Good as long as nobody asks for what it does not propose."""

    def supports(self, region):
        return None if len(region.entries) == 2 else Unsupported("it takes two arrays")

    def emit(self, region):
        return lambda x, w: jnp.tanh(x @ w)


def test_what_was_never_proposed_counts_where_the_contract_is_strict(only_calls):
    whole = case(lambda x, w: jnp.tanh(x @ w) * x[0, 0], jnp.ones((4, 6)), jnp.ones((6, 3)))
    only: dict[str, Any] = {"cases": (whole,), "others": (), "effort": LEAST}
    assert broken(subject(ServesAnything(), **only)) == {}
    found = broken(subject(ServesAnything(), strict=True, **only))
    assert {"honesty", "agreement"} & set(found)


class Serves(Good):
    def emit(self, region):
        return lambda x, w: jnp.tanh(x @ w).astype(x.dtype)


def test_emitting_what_is_refused_counts_where_the_contract_is_strict():
    assert broken(subject(Serves(), effort=LEAST)) == {}
    found = broken(subject(Serves(), effort=LEAST, strict=True))
    assert list(found) == ["honesty"]
    assert "must not serve what `supports` refuses" in found["honesty"][0]


class Runtime(Backend):
    """Elementwise operations, as many at once as can be."""

    name, kind = "runtime", "graph-runtime"

    def takes(self, node):
        return True if node.op in ("tanh", "mul", "add") else Unsupported(f"{node.op} is not elementwise")

    def emit(self, region):
        made = {"tanh": jnp.tanh, "mul": jnp.multiply, "add": jnp.add}

        def run(*arrays):
            known = dict(zip(region.entries, arrays, strict=True))
            for node in region.nodes:
                operands = (v.val if isinstance(v, Constant) else known[v] for v in node.inputs)
                known[node.out] = made[node.op](*operands)
            return [known[v] for v in region.exits]

        return run


class WholeGraphsOnly(Runtime):
    """Right for what it proposes, and for no part of it."""

    def emit(self, region):
        good = super().emit(region)
        return good if len(region.nodes) == 4 else lambda *arrays: [r + 1 for r in good(*arrays)]


class AnswersInWords(Runtime):
    def takes(self, node):
        return "yes" if node.op in ("tanh", "mul", "add") else super().takes(node)

    def propose(self, graph):
        return ()


def chain(x, y):
    return jnp.tanh(x * y + x) * 2


def test_a_graph_runtime_must_serve_parts_of_what_it_proposes():
    cases = (case(chain, jnp.ones((3, 4)), jnp.ones((3, 4))),)
    assert broken(subject(Runtime(), cases, effort=LEAST)) == {}
    assert list(broken(subject(WholeGraphsOnly(), cases, effort=LEAST))) == ["agreement"]
    assert "`takes` must return" in broken(subject(AnswersInWords(), (), effort=LEAST), ("refusals",))["refusals"][0]


class CallsBack(Good):
    def kernel(self, dims):
        form = jax.ShapeDtypeStruct((4, 3), jnp.float32)
        return lambda x, w: jax.pure_callback(np.tanh, form, lax.dot_general(x, w, dims))


def test_an_export_that_holds_the_kernel_is_caught(monkeypatch, only_calls):
    assert broken(subject(CallsBack())) == {}
    monkeypatch.setattr(primitive, "runs_here", lambda context, **_: True)
    assert list(broken(subject(CallsBack()))) == ["export"]


# In other processes.


class HoldsItsProcess(Good):
    """Its version and its programs say in which process they were made; what they compute is the same."""

    def version(self):
        return f"process {os.getpid()}"

    def kernel(self, dims):
        # Far below what tanh gives, so that it changes the program and no result.
        return lambda x, w: jnp.maximum(jnp.tanh(lax.dot_general(x, w, dims)), -1000.0 - os.getpid())


class CountsPrograms(Good):
    counter = itertools.count()

    def kernel(self, dims):
        number = next(self.counter)
        return lambda x, w: jnp.maximum(jnp.tanh(lax.dot_general(x, w, dims)), -1000.0 - number)


def _by_its_environment(y: Any, out: Any) -> None:
    np.multiply(np.tanh(y), np.float32(1 + 2**-22 * ("JAX_COMPILATION_CACHE_DIR" in os.environ)), out=out)


class LooksUpItsProcess(Good):
    """A program of Python's, which JAX keeps, and which looks at the process that runs it."""

    def kernel(self, dims):
        call = collage_jax.callback_call(_by_its_environment, jax.ShapeDtypeStruct((4, 3), jnp.float32))
        return lambda x, w: call(lax.dot_general(x, w, dims))


@pytest.mark.slow
def test_what_only_this_process_has_is_caught():
    found = broken(subject(HoldsItsProcess()), CHECKS)
    assert list(found) == ["processes"]
    version, text = found["processes"]
    assert "`version()` must be the same in any process" in version
    assert "another in a fresh process" in text


def test_programs_that_are_numbered_are_caught():
    tested = subject(CountsPrograms())
    tested._elsewhere = Skipped("it is enough to lower again here")
    checked = CHECKS["processes"](tested)
    assert "another when lowered again" in str(next(checked))


@pytest.mark.slow
def test_a_program_that_looks_up_its_process_is_caught_in_the_cache(monkeypatch):
    pytest.importorskip("collage_jax._callback", exc_type=ImportError)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    found = broken(subject(LooksUpItsProcess()), ("agreement", "determinism", *ELSEWHERE))
    assert list(found) == ["cache"]


def _spoil(x: Any, y: Any, out: Any) -> None:
    ctypes.memset(x.ctypes.data, 0, 4)  # its first element
    out[...] = y


class WritesIntoOperands(Good):
    def kernel(self, dims):
        good = super().kernel(dims)
        call = collage_jax.callback_call(_spoil, jax.ShapeDtypeStruct((4, 3), jnp.float32))
        return lambda x, w: call(x, good(x, w))


def test_a_kernel_that_writes_into_its_operands_is_caught():
    pytest.importorskip("collage_jax._callback", exc_type=ImportError)
    found = broken(subject(WritesIntoOperands(), effort=LEAST))
    assert list(found) == ["agreement"]
    assert "a kernel must leave its operands as they are" in found["agreement"][0]


class HoldsALock(Good):
    def __init__(self):
        self.lock = threading.Lock()


def test_a_backend_that_cannot_be_sent_is_left_out_with_the_reason():
    for name in ELSEWHERE:
        with pytest.raises(Skipped, match=r"good cannot be sent to another process: .*lock"):
            list(CHECKS[name](subject(HoldsALock())))


@pytest.mark.slow
def test_a_module_that_only_this_process_has_is_sent_as_a_whole(monkeypatch):
    module = types.ModuleType("made_up_by_a_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec("from test_testing import Good\nclass Hidden(Good): pass", module.__dict__)
    assert broken(subject(module.Hidden()), ELSEWHERE) == {}


# What an author calls.


def test_everything_wrong_is_in_one_error(only_calls):
    class Bad(ALittleOff, WithoutVersion):
        pass

    tested = subject(Bad())
    tested._elsewhere = Skipped("not looked at")
    with pytest.raises(ContractViolation) as caught:
        check_subject(tested)
    assert {v.check for v in caught.value.violations} == {"description", "agreement"}
    assert "the backend 'good' breaks its contract" in str(caught.value)
    assert "layer: dot_general+tanh: float32[4, 6], float32[6, 3] -> float32[4, 3]" in str(caught.value)
    assert isinstance(caught.value, AssertionError)


def test_the_report_says_what_was_run_and_what_was_not(only_calls):
    tested = subject(Good())
    tested._elsewhere = Skipped("not looked at")
    report = check_subject(tested)
    assert report.skipped == {"processes": "not looked at", "cache": "not looked at"}
    assert set(report.passed) == set(CHECKS) - set(ELSEWHERE)
    assert report.regions == ("layer: dot_general+tanh: float32[4, 6], float32[6, 3] -> float32[4, 3]",)


def test_a_backend_that_cannot_be_used_here_is_left_out_with_the_reason():
    class Elsewhere(Good):
        platforms = ("tpu",)

    report = check_backend(Elsewhere(), [CASE], effort="quick")
    assert report.passed == ("description",)
    assert set(report.skipped.values()) == {"good is not available: runs on tpu, and JAX's default backend is cpu"}


def test_a_class_of_tests_has_one_for_each_check():
    made = backend_contract(Good(), [CASE], effort=LITTLE)
    assert issubclass(made, BackendContract) and made.__name__ == "TestGood"
    tests = [name for name in dir(made) if name.startswith("test_")]
    assert len(tests) == len(CHECKS)
    made().test_describes_itself()
    wrong = backend_contract(WithoutVersion(), [CASE], effort=LITTLE)
    with pytest.raises(ContractViolation):
        wrong().test_describes_itself()
    assert made._subject is not wrong._subject


@pytest.mark.slow
def test_a_test_runner_counts_what_cannot_be_checked_as_skipped(pytester_file):
    outcome = pytester_file("""
        from test_testing import Good, CASE, LITTLE
        from collage_jax.testing import backend_contract
        class Elsewhere(Good):
            platforms = ("tpu",)
        TestElsewhere = backend_contract(Elsewhere(), [CASE], effort=LITTLE)
    """)
    assert "1 passed, 11 skipped" in outcome
    assert "good is not available: runs on tpu" in outcome


@pytest.fixture
def pytester_file(tmp_path):
    """Runs pytest on a file with this text and gives what it prints."""

    def run(text: str) -> str:
        file = tmp_path / "test_mine.py"
        file.write_text("\n".join(line.removeprefix(" " * 8) for line in text.splitlines()), encoding="utf8")
        path = os.pathsep.join([os.path.dirname(__file__), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", str(file)]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False, cwd=tmp_path
        )
        return done.stdout + done.stderr

    return run


def test_another_backend_of_that_name_is_not_disturbed(only_calls):
    class Other(Backend):
        name = "good"

        def emit(self, region):
            raise NotImplementedError

    other = Other()
    collage_jax.register_backend(other)
    try:
        with pytest.raises(Skipped, match="another backend is called 'good'"):
            list(CHECKS["transformations"](subject(Good())))
        assert registry.get("good") is other
    finally:
        collage_jax.unregister_backend("good")
    assert broken(subject(Good()), ("transformations",)) == {}
    assert "good" not in {info.name for info in collage_jax.backends()}


# Cases and inputs.


def test_arguments_may_be_drawn():
    strategy = arguments("m k", "k 3", dtypes=("float32", "bfloat16"), largest=9)
    drawn = case(layer, arguments=strategy).examples(8)
    assert len(drawn) == 8
    for x, w in drawn:
        assert x.shape[1] == w.shape[0] and w.shape[1] == 3 and x.dtype == w.dtype
    assert drawn == case(layer, arguments=strategy).examples(8)
    sizes = [x.size + w.size for x, w in drawn]
    assert sizes == sorted(sizes)


def test_single_arguments_may_be_drawn_beside_others():
    shape = arguments("m 6", largest=5).map(lambda only: only[0])
    found = case(layer, shape, jnp.ones((6, 3))).examples(4)
    assert all(x.shape[1] == 6 and w.shape == (6, 3) for x, w in found)
    assert broken(subject(Good(), [case(layer, shape, jnp.ones((6, 3)))], others=()), ("cases", "agreement")) == {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: case(layer(jnp.ones((1, 1)), jnp.ones((1, 1)))), "pass the function itself"),
        (lambda: case(layer, 1, arguments=arguments("m")), "got both"),
        (lambda: case(layer, arguments=(1, 2)), "pass values as `args`"),
        (lambda: arguments("m-1"), "got 'm-1'"),
        (lambda: backend_contract(Good(), effort="hard"), "'quick', 'normal', 'thorough'"),
        (lambda: subject(Good(), [case(layer, jnp.ones((4, 6)), jnp.ones((4, 6)))]).programs, "in 'layer'; correct"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_without_pytest_and_hypothesis_the_extra_is_named():
    program = (
        "import sys; sys.modules.update(hypothesis=None, pytest=None)\n"
        "from collage_jax.testing import arguments, case, check_backend\n"
        "try: arguments('m k')\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'collage-jax[test]'" in done.stdout


def test_the_standard_programs_are_many_and_have_names_of_their_own():
    names = [each.name for each in standard()]
    assert len(names) > 100 and len(set(names)) == len(names)
    graphs = [graph for program in standard_programs() for graph in program.problem.graphs.values()]
    ops = {node.op for graph in graphs for node in graph.nodes}
    wanted = {"dot_general", "conv_general_dilated", "softmax", "layer_norm", "gelu", "max_pool", "gather"}
    assert wanted | {"scan", "while", "cond", "sort", "cumsum", "reduce_sum", "random_bits"} <= ops
    dtypes = {str(v.dtype) for program in standard_programs() for v in program.problem.split.each.inputs}
    assert {"float32", "bfloat16", "float16", "int8", "int32", "bool", "complex64"} <= dtypes


def test_inputs_hold_special_numbers_and_all_small_integers():
    forms = jax.ShapeDtypeStruct((4, 4), jnp.float32), jax.ShapeDtypeStruct((64, 64), jnp.int8)
    found = dict(inputs([Value(jax.typeof(jnp.zeros(f.shape, f.dtype))) for f in forms]))
    assert np.isnan(found["NaN in operand 0"][0]).sum() == 1
    assert np.isposinf(found["infinity in operand 0"][0]).sum() == 1
    assert np.isneginf(found["minus infinity in operand 0"][0]).sum() == 1
    assert {-128, 127} <= set(np.asarray(found["integers of all eight bits"][1]).ravel().tolist())


def test_random_regions_are_convex_and_the_same_each_time():
    for program in standard_programs()[::7]:
        for graph in program.problem.graphs.values():
            first, second = (list(random_regions(graph, 6, 3)) for _ in range(2))
            assert [r.indices for r in first] == [r.indices for r in second]
            assert all(region.is_convex for region in first)


def test_a_choice_holds_every_kind_before_a_second_of_one():
    chosen = varied(["a1", "a2", "a3", "b1", "c1", "c2"], lambda name: name[0], 4)
    assert sorted(name[0] for name in chosen[:3]) == ["a", "b", "c"]
    assert len(chosen) == 4
