"""The sanitizers of tests/sanitizers find what they are for, and nothing in a few tests of every kernel."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "sanitizers"))

import run as sanitizers

pytestmark = pytest.mark.slow


def skip_without(mode):
    if (missing := sanitizers.why_not(mode)) is not None:
        pytest.skip(missing)


FAULTS = {
    "address": ("int* a = new int[4]; a[n] = 1; delete[] a;", "heap-buffer-overflow"),
    "leak": ("static int* volatile held; held = new int[n]; held = nullptr;", "Direct leak of 16 byte"),
    # Several, for a register may still hold the last.
    "references": ('for (int i = 0; i < n; ++i) PyBytes_FromStringAndSize("held", n);', "Direct leak of"),
    "thread": (
        "int held = n; auto more = [&] { for (int i = 0; i < 1000; ++i) ++held; };"
        " std::thread one(more), other(more); one.join(); other.join();",
        "data race",
    ),
    "undefined": ("volatile int big = 2147483647; big = big + n;", "signed integer overflow"),
}


@pytest.mark.parametrize("mode", FAULTS)
def test_a_fault_is_reported_with_its_place(mode, tmp_path):
    """In a library that Python loads, as it does ours."""
    skip_without(mode)
    body, wanted = FAULTS[mode]
    (tmp_path / "csrc").mkdir()
    source, library = tmp_path / "csrc/faulty.cc", tmp_path / "faulty.so"
    source.write_text(
        f'#include <Python.h>\n#include <thread>\nextern "C" void Fault(int n) {{ {body} }}\n', encoding="utf8"
    )
    flags = [*sanitizers.flags(mode), "-shared", "-fPIC", f"-I{sysconfig.get_paths()['include']}"]
    subprocess.run(["g++", *flags, "csrc/faulty.cc", "-o", str(library)], cwd=tmp_path, check=True)
    sanitizers.build_preloaded(mode, tmp_path)
    program = f"import ctypes; ctypes.PyDLL({str(library)!r}).Fault(4)"
    environment = sanitizers.environment(mode, tmp_path / "reports", tmp_path)
    subprocess.run(sanitizers.fixed(mode, [sys.executable, "-c", program]), env=environment, check=False)
    reports = list(sanitizers.found(tmp_path / "reports"))
    assert reports and all(wanted in report and "csrc/faulty.cc" in report for report in reports)


OURS, OTHERS = "    #0 Run csrc/rows/plan.cc:3", "    #0 memcpy (libjax_common.so+0x1)"
LOST = "    [failed to restore the stack]"


@pytest.mark.parametrize(
    ("one", "other", "counts"),
    [(OURS, OURS, 1), (OURS, LOST, 1), (LOST, OURS, 1), (OURS, OTHERS, 0), (OTHERS, LOST, 0), (LOST, LOST, 0)],
)
def test_a_race_counts_if_no_side_is_known_to_be_others(one, other, counts, tmp_path):
    race = f"WARNING: ThreadSanitizer: data race (pid=1)\n  Read:\n{one}\n\n  Previous write:\n{other}\n\n{OURS}\n"
    (tmp_path / "report.1").write_text("=" * 18 + "\n" + race + "=" * 18 + "\n", encoding="utf8")
    assert len(list(sanitizers.found(tmp_path))) == counts


@pytest.mark.parametrize(
    ("maker", "counts"), [("Run csrc/rows/plan.cc:3", 1), ("<null> <null> (libopenvino.so+0x1)", 0)]
)
def test_a_mutex_counts_if_it_is_in_memory_of_ours(maker, counts, tmp_path):
    waits = "WARNING: ThreadSanitizer: unlock of an unlocked mutex (pid=1)\n    #0 pthread_cond_wait tsan.cpp:1"
    place = f"  Location is heap block of size 8:\n    #0 operator new(unsigned long) new.cpp:2\n    #1 {maker}\n"
    text = "=" * 18 + f"\n{waits}\n\n{place}    #2 Outer csrc/rows/plan.cc:9\n" + "=" * 18 + "\n"
    (tmp_path / "report.1").write_text(text, encoding="utf8")
    assert len(list(sanitizers.found(tmp_path))) == counts


def test_kernels_on_texts_of_all_kinds_keep_to_their_arrays():
    pytest.importorskip("pybind11", reason="pybind11 is not installed")
    skip_without("address")
    package = sanitizers.build("address", "kernels", "program")
    passed, reports = sanitizers.run("address", package, [str(sanitizers.ROOT / "tests/test_native_texts.py")])
    assert passed and reports == []
