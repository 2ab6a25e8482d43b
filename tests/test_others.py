"""How busy other processes keep the machine is told where times depend on it."""

from __future__ import annotations

import os
import sys

import pytest

from collage_jax.measure import others

HERTZ = os.sysconf("SC_CLK_TCK")


class Machine:
    """What the kernel would tell: two processors for this process, another for others."""

    def __init__(self, monkeypatch, path):
        self.path, self.now_s, self.own_s = path, 100.0, 0.0
        self.busy_s = [10.0, 20.0, 30.0]
        monkeypatch.setattr(others, "STATISTICS", path)
        monkeypatch.setattr(others, "_processors", lambda: {0, 2})
        monkeypatch.setattr(others, "_own_s", lambda: self.own_s)
        monkeypatch.setattr(others.time, "perf_counter", lambda: self.now_s)
        self.tell()

    def tell(self):
        rows = [f"cpu{n} {int(busy * HERTZ)} 0 0 {int(1e6)} 77 0 0 0 0 0" for n, busy in enumerate(self.busy_s)]
        self.path.write_text("\n".join(["cpu  1 2 3 4 5 6 7 8 9 10", *rows, "intr 1 2", "ctxt 5"]) + "\n")

    def later(self, busy_s, own_s=0.0, took_s=10.0):
        self.now_s += took_s
        self.own_s += own_s
        self.busy_s = [before + more for before, more in zip(self.busy_s, busy_s, strict=True)]
        self.tell()


@pytest.fixture
def machine(monkeypatch, tmp_path):
    return Machine(monkeypatch, tmp_path / "stat")


def test_what_others_took_of_the_processors_of_this_process(machine):
    watched = others.Others()
    machine.later(busy_s=(9.0, 10.0, 8.0), own_s=9.0)
    assert watched.share() == pytest.approx(8 / 20)
    (note,) = watched.note()
    assert "Other processes took 40% of the processors" in note
    assert "--again" in note


def test_an_idle_machine_is_worth_no_word(machine):
    watched = others.Others()
    machine.later(busy_s=(9.0, 10.0, 9.5), own_s=18.0)
    assert watched.share() == pytest.approx(0.5 / 20)
    assert watched.note() == ()


def test_rounding_makes_nothing_negative(machine):
    watched = others.Others()
    machine.later(busy_s=(5.0, 0.0, 5.0), own_s=10.1)
    assert watched.share() == 0.0


def test_a_moment_is_too_short_to_tell(machine):
    watched = others.Others()
    machine.later(busy_s=(0.5, 0.0, 0.5), took_s=0.5)
    assert watched.share() is None
    assert watched.note() == ()


@pytest.mark.parametrize("text", [None, "", "cpu 1 2 3\n", "cpu0 1 2\ncpu2 1 2\n", "cpu0 a b c d e f g h\n"])
def test_where_nothing_is_told_there_is_no_note(machine, text):
    if text is None:
        machine.path.unlink()
    else:
        machine.path.write_text(text)
    watched = others.Others()
    machine.now_s += 10.0
    assert watched.note() == ()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/stat is Linux's")
def test_the_kernel_counts_what_this_process_takes():
    busy_s, own_s = others._busy_s(), others._own_s()
    while others._own_s() < own_s + 0.5:
        pass
    assert others._busy_s() - busy_s >= 0.4
