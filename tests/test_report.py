"""The table that a person reads."""

from __future__ import annotations

from fakes import Fake

from collage_jax.backends import registry
from collage_jax.backends.registry import why_unavailable
from collage_jax.candidates import Refusal
from collage_jax.costs import Failed, Measured
from collage_jax.placement import PlacedRegion, Placement
from collage_jax.report.alike import told_once
from collage_jax.report.savings import saved_most
from collage_jax.report.table import FEW, WIDTH, cost_text, table, verdict

THREE_US = Measured(3.0)


class ForGpus(Fake):
    platforms = ("gpu",)


def region(backend="fake", cost=THREE_US, count=1, alternatives=None, label="dot+tanh"):
    shapes = "float32[3, 4] -> float32[3, 4]"
    return PlacedRegion(backend, ("dot_general", "tanh"), label, cost, alternatives or {}, shapes, count)


def words(text):
    return " ".join(text.split())


def test_a_region_is_one_row_with_its_time_share_and_runner_ups():
    alternatives = {"xla": Measured(9.0), "other": Failed("verify", "differs by 1.0"), "quick": Measured(4.0)}
    placement = Placement(
        (region(alternatives=alternatives), region("xla", Measured(1.0), label="exp")), predicted_us=4.0
    )
    row = next(line for line in table(placement).splitlines() if "dot+tanh" in line and "│" in line)
    assert "fake" in row
    assert "3.0" in row
    assert "75.0%" in row
    assert words(table(placement)).index("quick 4.0") < words(table(placement)).index("xla 9.0")
    assert "other failed (verify)" in words(table(placement).replace("│", " "))


def test_reasons_of_failures_stand_in_full_below_the_table():
    reason = "the library has no kernel for " + "very " * 12 + "odd strides"
    failed = region("xla", Measured(1.0), alternatives={"fake": Failed("compile", reason)})
    late = region("xla", Measured(2.0), alternatives={"fake": Failed("budget", "not measured")}, label="late")
    text = table(Placement((failed, failed, late)))
    assert f"fake: dot_general+tanh: compile: {reason} (and 1 more like it)" in words(text)
    assert text.count("not measured") == 1


def test_regions_stand_by_total_time():
    placement = Placement(
        (region(label="small"), region(label="often", count=9), region(label="big", cost=Measured(20.0)))
    )
    text = table(placement)
    assert text.index("often") < text.index("big") < text.index("small")


def test_text_that_looks_like_markup_is_shown_as_it_is():
    odd = "f[3, 4] [bold]loud[/bold] :smile:"
    refusal = Refusal(("dot_general",), "fake", odd)
    placement = Placement((region(label=odd),), (refusal,), unavailable={"gone": odd}, notes=(odd,))
    text = table(placement)
    assert words(text).count("[bold]loud[/bold] :smile:") >= 3
    assert "\x1b" not in text


def test_refusals_are_counted_and_named():
    refusals = (Refusal(("a", "b"), "fake", "too small"),) * 2 + (Refusal((), "broken", "`propose` failed"),)
    text = table(Placement((), refusals, unavailable={"gone": "no library"}))
    assert "fake: a+b: too small (and 1 more like it)" in text
    assert "broken: everything: `propose` failed" in text
    assert "gone is not available: no library" in text


def test_refusals_that_differ_in_shapes_and_numbers_are_told_once():
    def reason(shape, got):
        return f"kernels have size 1 or at most 16 channels, got float32[{shape}] and {got}, padded by ((0, 1), (1, 1))"

    shapes = ("3, 3, 64, 128", "3, 3, 128, 64", "", "5", "1, 1, 64, 10")
    refusals = [Refusal(("conv",), "fake", reason(shape, 1.5 * i)) for i, shape in enumerate(shapes)]
    others = [Refusal(("conv",), "other", reason("3, 3", 1)), Refusal(("conv",), "fake", "float64 is not float32")]
    wide = Refusal(("conv",), "fake", "float64[3] is not float32")
    text = words(table(Placement((), (*refusals, *others, wide))))
    assert f"fake: conv: {reason(shapes[0], 0.0)} (and 4 more like it)" in text
    assert text.count("padded by") == 2
    assert text.count("is not float32") == 2
    assert text.count("more like it") == 1


def test_what_differs_in_more_than_numbers_is_told_apart():
    lines = ["got float32[3]", "got bfloat16[3]", "got float32[3] and 3x3", "got float32[3] and 5x5", "2 in", "2 out"]
    assert told_once(lines) == lines


def test_numbers_of_all_kinds_are_alike():
    lines = ["off by 1e-05, -3", "off by 0.5, 12", "off by 2.5e+20, (1, 2)", "off by 3, []"]
    assert told_once(lines) == ["off by 1e-05, -3 (and 3 more like it)"]


def test_backends_of_other_platforms_and_without_kernels_are_named_in_one_line():
    without_kernels = registry.get("callback").available()
    assert without_kernels is not None
    others = {"gone": "no library", "off": "switched off"}
    reasons = {"gpu": why_unavailable(ForGpus()) or "", "empty": without_kernels.reason, **others}
    text = table(Placement((), unavailable=reasons))
    assert "For other platforms, or without kernels: gpu, empty; `collage-jax doctor` says why." in text
    assert "gone is not available: no library" in text
    assert "off is not available: switched off" in text
    assert "JAX's default backend" not in text
    assert "collage-jax doctor" not in table(Placement((), unavailable={"gone": "no library"}))


def test_a_function_left_to_xla_has_no_table():
    text = table(Placement((), notes=("No backend wants any part of this function.",)))
    assert "XLA runs everything." in text
    assert "No backend wants any part" in text
    assert "backend  " not in text


def test_lines_are_not_wider_than_a_page():
    long = region(label="+".join(["operation"] * 60), alternatives={"xla": Failed("run", "reason " * 60)})
    text = table(Placement((long,), (Refusal(("op",) * 80, "fake", "because " * 40),)))
    assert max(map(len, text.splitlines())) <= WIDTH


def test_costs_in_a_few_characters():
    assert cost_text(Measured(12.34)) == "12.3"
    assert cost_text(Measured(0.0, runs=0)) == "-"
    assert cost_text(Failed("compile", "no")) == "compile: no"


def test_the_summary_sets_the_whole_beside_xla():
    placement = Placement(
        (region(count=2), region("xla")),
        predicted_us=9.0,
        measured_us=10.0,
        xla_us=25.0,
        error=1e-6,
        distinct_measured=3,
    )
    text = "\n".join(verdict(placement))
    assert "Regions: fake 2, xla 1" in text
    assert "When tuned: jax.jit 25.0 us, placed 10.0 us (predicted 9.0 us): 2.50x, error 1.0e-06" in text
    assert table(placement).startswith(text)
    assert "3 distinct regions measured" in table(placement)


def test_tuning_is_told_of_where_there_was_some():
    assert "Tuned in 2.0 s, 1 distinct region measured." in table(Placement((), tuning_s=2.0, distinct_measured=1))
    assert "Tuned" not in table(Placement((), notes=("Decided before.",)))


def test_what_was_not_measured_is_left_out():
    assert not any("jax.jit" in line for line in verdict(Placement((region("xla", Measured(0.0, runs=0)),))))
    assert "%" not in table(Placement((region(cost=Failed("budget", "not measured")),)))


def test_a_placement_prints_as_its_table():
    placement = Placement((region(),))
    assert str(placement) == table(placement)


def test_speedup_counts_regions_that_left_xla():
    assert Placement(()).speedup == 1.0
    assert Placement((region("xla"),), measured_us=10.0, xla_us=12.0).speedup == 1.0
    assert Placement((region(), region("xla")), measured_us=10.0, xla_us=12.0).speedup == 1.2
    assert Placement((region(count=3), region("xla"))).counts() == {"fake": 3, "xla": 1}


def saving(label, xla_us, us, count=1):
    return region(cost=Measured(us), count=count, alternatives={"xla": Measured(xla_us)}, label=label)


def test_a_line_says_where_most_was_saved_whatever_takes_most_now():
    regions = (
        saving("costly", 1010.0, 1000.0),
        saving("first", 90_000.0, 500.0),
        saving("often", 2_000.0, 200.0, count=10),
        saving("worse", 100.0, 200.0),
        saving("fifth", 5_500.0, 100.0),
        saving("fourth", 7_000.0, 100.0),
        region("xla", Measured(50_000.0), label="left"),
    )
    (line,) = (line for line in words(table(Placement(regions))).split("Most of it ")[1:])
    assert line.startswith(
        "comes from: first (), 90.0 ms to 500 us by fake; 10 x often (), 20.0 ms to 2.00 ms by fake; "
        "fourth (), 7.00 ms to 100 us by fake."
    )
    assert saved_most(Placement((saving("worse", 100.0, 200.0),))) == []
    assert saved_most(Placement((region("xla", alternatives={"fake": Measured(1.0)}),))) == []
    assert saved_most(Placement((region(alternatives={"xla": Failed("budget", "not measured")}),))) == []


def test_a_faster_kernel_that_was_not_chosen_is_marked_and_the_mark_explained():
    left = region("xla", Measured(9.0), alternatives={"quick": Measured(4.0), "slow": Measured(12.0)})
    text = words(table(Placement((left, region()))))
    assert "quick 4.0*; slow 12.0" in text
    assert text.count("* Faster alone, and not chosen") == 1
    assert "*" not in table(Placement((region(alternatives={"slow": Measured(12.0), "odd": Failed("run", "no")}),)))


def test_many_small_regions_share_a_row():
    small = tuple(region(cost=Measured(0.5), count=2, label=f"small{n}") for n in range(FEW))
    big = region("xla", Measured(2000.0), label="big")
    text = table(Placement((*small, big)))
    assert "small" not in text
    assert f"{FEW} more, of less than 0.1% each or not timed alone" in words(text)
    assert "0.2%" in text
    assert all(f"small{n}" in table(Placement((*small[1:], big))) for n in range(1, FEW))
