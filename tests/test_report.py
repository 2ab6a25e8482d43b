"""The table that a person reads."""

from __future__ import annotations

from collage_jax.candidates import Refusal
from collage_jax.costs import Failed, Measured
from collage_jax.placement import PlacedRegion, Placement
from collage_jax.report.table import WIDTH, cost_text, summary, table

THREE_US = Measured(3.0)


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
    row = next(line for line in table(placement).splitlines() if "dot+tanh" in line)
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
    assert f"fake: dot_general+tanh: compile: {reason} (x2)" in words(text)
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
    assert "fake: a+b (x2): too small" in text
    assert "broken: everything: `propose` failed" in text
    assert "gone is not available: no library" in text


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
    text = "\n".join(summary(placement))
    assert "Regions: fake 2, xla 1" in text
    assert "jax.jit 25.0 us, placed 10.0 us (predicted 9.0 us): 2.50x, error 1.0e-06" in text
    assert "3 distinct regions measured" in text


def test_what_was_not_measured_is_left_out():
    assert not any("jax.jit" in line for line in summary(Placement((region("xla", Measured(0.0, runs=0)),))))
    assert "%" not in table(Placement((region(cost=Failed("budget", "not measured")),)))


def test_a_placement_prints_as_its_table():
    placement = Placement((region(),))
    assert str(placement) == table(placement)


def test_speedup_counts_regions_that_left_xla():
    assert Placement(()).speedup == 1.0
    assert Placement((region("xla"),), measured_us=10.0, xla_us=12.0).speedup == 1.0
    assert Placement((region(), region("xla")), measured_us=10.0, xla_us=12.0).speedup == 1.2
    assert Placement((region(count=3), region("xla"))).counts() == {"fake": 3, "xla": 1}
