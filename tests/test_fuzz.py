"""The fuzzer: its programs, what it calls wrong and what not, what it finds, and a short run of it."""

import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from jax import lax

import collage_jax
from collage_jax.command_line import group
from collage_jax.fuzz.data import drawn as argument_array
from collage_jax.fuzz.drawing import drawn
from collage_jax.fuzz.judging import difference
from collage_jax.fuzz.program import Argument, Function, Options, Part, Program, Statement
from collage_jax.fuzz.reproducer import load, save
from collage_jax.fuzz.running import AGREES, CRASHES, DIFFERS, HANGS, REFUSED, outcome
from collage_jax.fuzz.serving import Runner
from collage_jax.fuzz.session import fuzz
from collage_jax.fuzz.shrinking import shrunk
from collage_jax.patterns import Pattern, any_, op


def judged(fun, got, *arrays, **options):
    """What is wrong with ``got`` as the results of ``fun``."""
    wanted = jax.jit(fun)(*arrays)
    return difference(got, wanted, lambda: jax.make_jaxpr(fun)(*arrays), arrays, **options)


def test_the_same_seed_gives_the_same_program():
    first, second = drawn(5), drawn(5)
    assert first.program == second.program
    assert first.program.text != drawn(6).program.text


def test_programs_hold_what_kernels_are_written_for_and_much_else():
    found = [drawn(seed) for seed in range(6)]
    names = set().union(*(d.primitives for d in found))
    assert {"dot_general", "conv_general_dilated", "reduce_sum", "exp", "custom_jvp_call"} <= names
    assert len(names) > 60
    misfits = sum(d.misfits.total() for d in found)
    assert misfits < 0.2 * sum(len(p.function.statements) for d in found for p in d.program.parts)


def test_what_rounding_decides_is_not_wrong():
    x = jnp.linspace(-1, 1, 64, dtype=jnp.float32)

    def fun(x):
        y = (x * 3 + 1) - x * 3 - 1  # nothing but rounding
        return jnp.sign(y), jnp.argmax(y), jnp.floor(y + 1), jax.nn.relu(y) / y

    shaken = [np.asarray(a) for a in jax.jit(fun)(x)]
    shaken[0] = -shaken[0]
    shaken[1] = np.int32((shaken[1] + 1) % 64)
    assert judged(fun, shaken, x) is None


@pytest.mark.parametrize("spoil", [lambda y: y + 1e-3, lambda y: y.at[3].set(jnp.nan), lambda y: y.at[5].add(0.01)])
def test_what_rounding_cannot_make_is_wrong(spoil):
    x = jnp.linspace(-1, 1, 64, dtype=jnp.float32)

    def fun(x):
        return (jnp.tanh(x) * 2 + 1,)

    assert judged(fun, jax.jit(fun)(x), x) is None
    assert judged(fun, [spoil(fun(x)[0])], x) is not None


def test_another_integer_or_dtype_is_wrong():
    x = jnp.arange(8)
    assert judged(lambda x: (x * 2,), [x * 2 + (x == 3)], x) is not None
    assert judged(lambda x: (x * 2,), [(x * 2).astype(jnp.float32)], x) is not None


def test_padding_may_or_may_not_be_multiplied_by_a_weight_that_is_not_finite():
    x, w = jnp.ones((1, 4, 1)), jnp.ones((3, 1, 1)).at[0].set(jnp.inf)

    def fun(x, w):
        return (lax.conv_general_dilated(x, w, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")),)

    wanted = fun(x, w)[0]
    assert jnp.isnan(wanted[0, 0, 0])
    assert judged(fun, [wanted.at[0, 0, 0].set(2)], x, w) is None
    assert judged(fun, [wanted.at[0, 1, 0].set(2)], x, w) is not None


def test_an_infinity_for_nan_is_wrong_but_where_padding_decides():
    x, w = jnp.ones((1, 4, 1)), jnp.ones((3, 1, 1)).at[0].set(jnp.inf)

    def fun(x, w):  # beside padding NaN or 2, and minus infinity is added to it
        y = lax.conv_general_dilated(x, w, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
        return (jnp.where(jnp.arange(4)[None, :, None] == 0, y - jnp.inf, y),)

    wanted = fun(x, w)[0]
    assert jnp.isnan(wanted[0, 0, 0])
    assert judged(fun, [wanted.at[0, 0, 0].set(-jnp.inf)], x, w) is None
    assert judged(fun, [wanted.at[0, 1, 0].set(-jnp.inf)], x, w) is not None
    assert judged(fun, [wanted.at[0, 1, 0].set(jnp.nan)], x, w) is not None


def test_a_weight_that_is_not_finite_may_stay_in_its_group_of_the_batch():
    x, w = jnp.ones((2, 4, 1)), jnp.ones((1, 1, 2)).at[0, 0, 1].set(jnp.nan)

    def fun(x, w):
        numbers = ("NWC", "WIO", "NWC")
        return (lax.conv_general_dilated(x, w, (1,), "VALID", dimension_numbers=numbers, batch_group_count=2),)

    assert judged(fun, [fun(x, w)[0].at[..., 0].set(1)], x, w) is None


def test_an_infinite_factor_of_a_convolution_may_meet_its_padding():
    x, w, factor = jnp.ones((1, 4, 1)), jnp.ones((3, 1, 2)), jnp.array([jnp.inf, 2.0])

    def fun(x, w, factor):
        return (lax.conv_general_dilated(x, w, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")) * factor,)

    wanted = fun(x, w, factor)[0]
    assert jnp.isinf(wanted[0, 0, 0])
    assert judged(fun, [wanted.at[0, 0, 0].set(jnp.nan)], x, w, factor) is None
    assert judged(fun, [wanted.at[0, 0, 1].set(jnp.nan)], x, w, factor) is not None


def test_sums_of_products_that_cancel_may_differ_by_what_is_lost():
    x, w = jnp.array([[1e5, 1e5, 1.0]]), jnp.array([[1.0], [-1.0], [1.0]])
    assert judged(lambda x, w: (jnp.cos(x @ w),), [jnp.cos(x @ w + 0.01)], x, w) is None
    assert judged(lambda x, w: (jnp.cos(x @ w),), [jnp.cos(x @ w + 0.01)], x[:, 2:], w[2:]) is not None


def test_sums_of_products_that_overflow_in_one_order_may_overflow_in_another():
    x, w = jnp.array([[3e38, 3e38, 1.0]]), jnp.array([[10.0], [-10.0], [1.0]])
    for got in (jnp.inf, jnp.nan, 1.0):
        assert judged(lambda x, w: (x @ w,), [jnp.full((1, 1), got)], x, w) is None
    assert judged(lambda x, w: (x @ w,), [jnp.full((1, 1), jnp.inf)], x[:, 2:], w[2:]) is not None


@pytest.mark.parametrize("fun", [
    lambda x: (x.max(-1),),
    lambda x: (-(-x).min(-1),),
    lambda x: (lax.reduce_window(x, -jnp.inf, lax.max, (1, x.shape[1]), (1, x.shape[1]), "VALID")[:, 0],),
])  # fmt: skip
@pytest.mark.parametrize("columns", [8, 64])
def test_nan_may_be_lost_in_reductions_to_an_extreme_or_kept(fun, columns):
    """XLA keeps it in small arrays."""
    x = jnp.ones((512, columns)).at[3, 2].set(jnp.nan)
    kept = jnp.ones(512).at[3].set(jnp.nan)
    assert judged(fun, [kept], x) is None and judged(fun, [jnp.ones(512)], x) is None
    assert judged(fun, [kept.at[0].set(jnp.nan)], x) is not None


def test_graph_runtimes_alone_may_lose_nan_in_an_extreme_of_two():
    x = jnp.array([jnp.nan, 1.0])
    got = [jnp.array([0.0, 1.0])]
    assert judged(lambda x: (jnp.maximum(x, 0),), got, x, runtimes=True) is None
    assert judged(lambda x: (jnp.maximum(x, 0),), got, x) is not None


def test_a_kernel_may_lose_what_is_about_the_smallest_normal_number():
    def fun(x):
        return (jnp.where(jax.nn.silu(x) == 0, 1.0, jnp.nan),)

    x = jnp.array([-86.95, -50.0])
    assert judged(fun, [jnp.array([1.0, jnp.nan])], x) is None
    assert judged(fun, [jnp.array([1.0, 1.0])], x) is not None


def test_what_is_in_a_checkpoint_is_off_too():
    x = jnp.full(4, 2e4)
    assert judged(lambda x: (jax.checkpoint(lambda x: jnp.cos(x / 3))(x),), [jnp.cos(x / 3 + 0.002)], x) is None


def test_where_an_infinite_weight_meets_padding_alone_it_may_be_absent():
    x, w = jnp.ones((1, 4, 1)), jnp.ones((3, 1, 1)).at[0].set(jnp.inf)

    def fun(x, w):
        y = lax.conv_general_dilated(x, w, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
        return (jnp.where(y > 0, y, 0),)

    wanted = fun(x, w)[0]
    assert wanted[0, 0, 0] == 0  # of NaN
    assert judged(fun, [wanted.at[0, 0, 0].set(2)], x, w) is None


def test_where_one_infinite_weight_meets_padding_and_another_the_image():
    x, w = jnp.ones((1, 4, 1)), jnp.ones((3, 1, 1)).at[0].set(jnp.inf).at[1].set(jnp.inf)

    def fun(x, w):
        y = lax.conv_general_dilated(x, w, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
        return (jnp.where(y > 0, y, 0),)

    wanted = fun(x, w)[0]
    assert wanted[0, 0, 0] == 0  # of NaN
    assert judged(fun, [wanted.at[0, 0, 0].set(jnp.inf)], x, w) is None
    assert judged(fun, [wanted.at[0, 1, 0].set(0)], x, w) is not None


def test_what_hangs_on_an_infinite_weight_at_padding_may_be_anything_and_nothing_else():
    x, w = jnp.ones((1, 4, 1)).at[0, 0, 0].set(-jnp.inf), jnp.ones((3, 1, 1)).at[0].set(jnp.nan).at[1].set(-jnp.inf)
    beside = jnp.full((1, 4, 1), jnp.inf)

    def fun(x, w, beside):
        y = lax.conv_general_dilated(x, w, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
        return (jnp.where(y >= 0, beside, 1), y)

    gated, y = fun(x, w, beside)
    assert gated[0, 0, 0] == 1  # of NaN
    assert judged(fun, [gated.at[0, 0, 0].set(jnp.nan), y.at[0, 0, 0].set(jnp.inf)], x, w, beside) is None
    assert judged(fun, [gated.at[0, 1, 0].set(jnp.nan), y], x, w, beside) is not None


def test_what_is_the_same_for_all_large_numbers_may_hang_on_padding_too():
    x = jnp.full((1, 4, 1), 50.0, jnp.bfloat16).at[0, 0, 0].set(1).at[0, 1, 0].set(1)
    w = jnp.ones((3, 1, 1), jnp.bfloat16).at[0].set(jnp.inf)

    def fun(x, w):
        y = lax.conv_general_dilated(x, w, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
        return (jnp.where((y > 0) & (y < 6), 1.0, 0.0), y)

    inside, y = fun(x, w)
    assert inside[0, 0, 0] == 0 and jnp.isnan(y[0, 0, 0])
    assert judged(fun, [inside.at[0, 0, 0].set(1), y.at[0, 0, 0].set(2)], x, w) is None
    assert judged(fun, [inside.at[0, 3, 0].set(1), y], x, w) is not None


def test_what_a_scatter_picks_is_equal_to_what_it_picked_from():
    x, update = jnp.array([1.0, 5.0, 2.0]), jnp.array([3.0])

    def fun(x, update):
        lower = x.at[jnp.array([1])].min(update)
        return (jnp.where(lower[1] == update, 1e-9, 0.0) * jnp.tanh(update),)

    assert judged(fun, [jnp.array([0.0])], x, update) is not None
    assert judged(fun, fun(x, update), x, update) is None


def test_the_far_end_of_erfc_is_one_minus_erf_to_a_kernel():
    x = jnp.full(4, 5.0)
    assert judged(lambda x: (lax.erfc(x),), [jnp.zeros(4)], x) is None
    assert judged(lambda x: (1 / lax.erfc(x),), [jnp.full(4, jnp.inf)], x) is None
    assert judged(lambda x: (1 / lax.erfc(x),), [jnp.full(4, jnp.inf)], x / 5) is not None
    assert judged(lambda x: (lax.erfc(x),), [jnp.full(4, 1e-4)], x) is not None


def gradient_of_largest(c, g):
    """JAX's: NaN where no element is equal to the largest."""
    y = 2 * (c - 0.1 * g)
    largest = jnp.max(y, axis=0, keepdims=True)
    hits = (y == largest).astype(jnp.float32)
    return jnp.sum(hits, axis=0) / jnp.sum(hits, axis=0), y - jnp.max(y[None], axis=0), jnp.tanh(y)


def test_a_sum_that_xla_rounds_otherwise_for_each_reader_is_told_from_what_is_wrong():
    c, g = (jax.random.normal(jax.random.key(i), (4, 8)) for i in range(2))
    ratio, nothing, bent = jax.jit(gradient_of_largest)(c, g)
    apart = [ratio * jnp.nan, nothing + 1e-7, bent]
    assert judged(gradient_of_largest, apart, c, g) is not None
    assert judged(gradient_of_largest, apart, c, g, by_reader=True) is None
    for wrong in ([ratio, nothing + 1e-3, bent], [ratio, nothing, bent + 1e-3], [ratio, nothing, bent * jnp.nan]):
        assert judged(gradient_of_largest, wrong, c, g, by_reader=True) is not None


def test_of_two_that_are_compared_one_may_be_computed_anew_and_one_be_read():
    def fun(a, b, d):
        y = jnp.minimum(a * b + 1, d)
        return y, jnp.tanh(jnp.where(a * b + 1 == y, 1.0, 0.0) + jnp.where(d == y, 1.0, 0.0))

    a, b = (jax.random.normal(jax.random.key(i), (64,)) for i in range(2))
    arguments = a, b, jnp.full(64, 9.0)
    y, hits = jax.jit(fun)(*arguments)
    assert judged(fun, [y, hits * 0], *arguments, by_reader=True) is None
    assert judged(fun, [y, hits * 0], *arguments) is not None
    assert judged(fun, [y, hits * 0 + 9], *arguments, by_reader=True) is not None


def test_nothing_says_which_sign_nan_has():
    def fun(x):
        return (lax.bitcast_convert_type(lax.rev(x, (0,)), "int32"),)

    x = jnp.array([1.0, jnp.nan])
    (bits,) = jax.jit(fun)(x)
    assert judged(fun, [bits.at[0].set(bits[0] ^ np.int32(-(1 << 31)))], x) is None
    assert judged(fun, [bits.at[1].set(bits[1] ^ np.int32(-(1 << 31)))], x) is not None


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64"])
def test_integers_of_all_sizes_are_drawn(dtype):
    with jax.enable_x64(True):
        array = argument_array(Argument("x", (64,), dtype, seed=1, data="special"))
        assert array.dtype == dtype and array.max() > np.iinfo(dtype).max // 2


def test_what_is_not_computed_anew_is_not_rounded_anew():
    x = jnp.linspace(-1, 1, 32).reshape(4, 8)
    for fun in (lambda x: (jnp.max(x, 0) == x,), lambda x: ((e := jnp.exp(x)) == jnp.max(e, 0),)):
        assert judged(fun, [~fun(x)[0]], x, by_reader=True) is not None


class Wrong(collage_jax.Backend):
    """Makes a hundredth more of tanh than it is, where there are more than two columns."""

    name, kind, platforms = "wrong_tanh", "kernel-library", ("cpu",)
    patterns = (Pattern("tanh", op("tanh")(any_("x")), where=lambda m: m["x"].ndim > 1 and m["x"].shape[-1] > 2),)

    def emit(self, region):
        return lambda x: jnp.tanh(x) * 1.01


def statement(target, template, *operands):
    return Statement((target,), template, operands)


def program(*statements, results, shape=(6, 8), options=None):
    names = sorted({o for s in statements for o in s.operands if o.startswith("x")})
    arguments = tuple(Argument(name, shape, "float32", seed=i) for i, name in enumerate(names))
    function = Function("f", tuple(names), statements, results)
    return Program((Part(function, arguments),), options or Options())


LONG = program(
    statement("v1", "{0} * {1}", "x0", "x1"),
    statement("v2", "lax.tanh({0})", "v1"),
    statement("v3", "lax.cos({0})", "v2"),
    results=("v3", "v1"),
)


def test_a_wrong_kernel_is_found_cut_down_and_replayed(registered, tmp_path):
    registered(Wrong())
    wrong = replace(LONG, options=Options(backends=("wrong_tanh",), frozen=("x1",), costs=3))
    found = outcome(wrong)
    assert found.verdict == DIFFERS
    assert "wrong_tanh at tanh" in found.why
    small, why = shrunk(wrong, found, outcome, seconds=60)
    (part,) = small.parts
    assert [s.template for s in part.function.statements] == ["lax.tanh({0})"]
    assert part.arguments[0].shape[-1] == 3 and small.options.frozen == ()
    path = save(small, why, tmp_path)
    assert "lax.tanh(" in path.read_text() and "0.0" not in path.stem
    assert outcome(load(path)).verdict == DIFFERS


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(frozen=("x1",), donated=("x0",), static=2),
        Options(packed=("x0", "x1")),
        Options(around="jax.jit({f})"),
        Options(around="jax.grad(lambda *p: sum(jnp.sum(y) for y in jax.tree.leaves({f}(*p))), FLOATS)"),
        Options(x64=True),
    ],
)
def test_programs_run_in_all_ways_of_calling_them(options):
    found = outcome(replace(LONG, options=options))
    assert found.verdict == AGREES, found


def test_what_jax_itself_refuses_is_no_failure():
    refused = program(statement("v1", "lax.dot({0}, {1})", "x0", "x1"), results=("v1",))
    assert outcome(refused).verdict == REFUSED


def test_a_file_that_is_no_program_is_refused_with_the_reason(tmp_path):
    path = tmp_path / "other.py"
    path.write_text("ARGUMENTS = []\n")
    with pytest.raises(ValueError, match="must define program, ARGUMENTS and OPTIONS, and lacks program, OPTIONS"):
        load(path)


def test_kernels_run_in_random_programs_and_agree():
    tally = fuzz(seed=7, programs=12, seconds=None)
    assert not tally.failures, tally.failures
    assert tally.programs >= 12
    assert tally.kernels.total() > 0 or not any(b.available for b in collage_jax.backends()[1:])


@pytest.mark.slow
def test_processes_that_crash_or_hang_are_found_and_replaced():
    runner = Runner(limit_s=20)
    try:
        aborts = replace(LONG, source="import os\n\ndef program(x0, x1):\n    os.abort()\n")
        assert runner.program(aborts).verdict == CRASHES
        sleeps = replace(LONG, source="import time\n\ndef program(x0, x1):\n    time.sleep(1000)\n")
        assert runner.program(sleeps).verdict == HANGS
        assert runner.program(LONG).verdict == AGREES
    finally:
        runner.close()


@pytest.mark.slow
def test_every_primitive_is_reached_or_said_to_be_out_of_reach():
    # In a process of its own: other packages and tests add primitives of theirs.
    script = """
from collage_jax.fuzz import coverage

known, out_of_reach, found = coverage.known(), coverage.OUT_OF_REACH.keys(), coverage.reached(tries=60)
seldom = {"exp2", "reshard"}  # each one of many in a list, which so few tries may miss
print(sorted(known - found - out_of_reach - seldom), sorted(found & out_of_reach))
"""
    command = [sys.executable, "-P", "-W", "ignore", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] []"


@pytest.mark.slow
def test_the_command_runs_saves_nothing_if_all_is_well_and_replays(tmp_path):
    result = CliRunner().invoke(group, ["fuzz", "--programs", "40", "--seed", "40", "--save", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "0 failures" in result.output and not list(tmp_path.iterdir())
    path = save(LONG, outcome(LONG), tmp_path)
    again = CliRunner().invoke(group, ["fuzz", "--replay", str(path)])
    assert again.exit_code == 0 and "agrees" in again.output
