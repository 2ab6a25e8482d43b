"""Builds the native code with a sanitizer and runs the tests that enter it.

    python tests/sanitizers/run.py address|undefined|thread|leak|references [--build-only] [arguments of pytest]

``address`` finds accesses out of bounds or after a release, and undefined behaviour; ``undefined`` the latter alone,
faster; ``thread`` finds data races; ``leak`` memory that nothing points to at the end; ``references`` Python objects of
that kind, in the few tests where our code makes any, for it is slow. Takes GCC with its runtimes, and
oneDNN's headers for the extension for oneDNN (``pip install onednn-devel-cpu-gomp==2023.2.0`` or ``ONEDNN_ROOT``).
Reports go to ``build/sanitizers/<mode>/reports/<process>`` and, each once, to the end of the output; then the status is
1. Building takes minutes for each sanitizer, and the tests some three times as long as without.

Python, jaxlib and oneDNN are not instrumented. What that costs: memory that XLA divides among values by itself is one
block to the sanitizer, so overruns are found at arguments and results of whole programs and in our own scratch memory;
order that XLA makes between threads is not seen, so csrc/ffi_state.h tells the thread sanitizer of it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

#: Tests whose point is native code: every kernel on odd shapes, plans of random text, many threads, Python functions.
TESTS = (
    *("attention", "bridges", "callback", "conv_gradients", "entry", "fused_elementwise", "grouped", "in_place"),
    *(
        "joining",
        "native_texts",
        "narrow_conv",
        "onednn_native",
        "pool_gradient",
        "rowwise",
        "sgemm",
        "spread",
        "threads",
    ),
    *("weights_gradient", "winograd", "openvino", "gpu_cublas", "gpu_cuda", "gpu_tensorrt"),
)

#: Of those, what starts compilers or processes that a preloaded sanitizer breaks or slows for nothing.
LEFT_OUT = "not another_process and not compilation_cache"

#: Only what has one of our extensions in its stack counts: others are not instrumented, and their memory is not ours.
_NAMES = "|".join(sorted(folder.name for folder in (ROOT / "csrc").iterdir() if folder.is_dir()))
OURS = re.compile(rf"\b_(?:{_NAMES})\.[\w.-]*so|csrc/\w+")


@dataclass(frozen=True)
class Mode:
    """A sanitizer: what the compiler is told, which runtimes are loaded first, and their options."""

    flags: tuple[str, ...]
    runtimes: tuple[str, ...]
    options: dict[str, str]
    build: str = ""  # of another mode
    tests: tuple[str, ...] = TESTS
    preload: str = ""  # a source here, loaded after the runtimes


_LINES = "-g1", "-fno-omit-frame-pointer"
_UNDEFINED = "print_stacktrace=1"
# Null for what cannot be had, as without a sanitizer: plans ask for absurd sizes in tests. jaxlib and Python have
# symbols twice and operators of their own. Python keeps much to its end, so that leaks are looked for apart.
_ADDRESS = "detect_leaks=0:detect_odr_violation=0:alloc_dealloc_mismatch=0:allocator_may_return_null=1"
# What XLA compiles is not looked at, so that it need not be fast.
_QUICK_XLA = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
_PRELOADED = "libasan.so", "libubsan.so", "libstdc++.so.6"

_LEAKS = {
    "ASAN_OPTIONS": _ADDRESS.replace("detect_leaks=0", "detect_leaks=1") + ":exitcode=0:malloc_context_size=12",
    "LSAN_OPTIONS": "max_leaks=0:report_objects=0:print_suppressions=0",
    "UBSAN_OPTIONS": _UNDEFINED,
}

MODES = {
    "address": Mode(
        ("-O1", *_LINES, "-fsanitize=address,undefined"),
        _PRELOADED,
        {"ASAN_OPTIONS": _ADDRESS, "UBSAN_OPTIONS": _UNDEFINED},
    ),
    "undefined": Mode(
        ("-O1", *_LINES, "-fsanitize=undefined,float-cast-overflow"), ("libubsan.so",), {"UBSAN_OPTIONS": _UNDEFINED}
    ),
    "thread": Mode(
        ("-O1", *_LINES, "-fsanitize=thread"),
        ("libtsan.so", "libstdc++.so.6"),
        {"TSAN_OPTIONS": f"suppressions={HERE / 'thread.supp'}:history_size=4:exitcode=0:report_signal_unsafe=0"},
    ),
    "leak": Mode((), _PRELOADED, _LEAKS, build="address"),
    "references": Mode(
        (),
        _PRELOADED,
        # Through Python's own frames, which have no frame pointers: ten times as slow.
        _LEAKS | {"ASAN_OPTIONS": _LEAKS["ASAN_OPTIONS"] + ":fast_unwind_on_malloc=0", "PYTHONMALLOC": "malloc"},
        build="address",
        tests=("callback", "entry"),
        preload="unseen_frames.cc",
    ),
}


def why_not(name: str) -> str | None:
    """Why this machine has not got the sanitizer ``name``; None if it has."""
    if shutil.which("g++") is None:
        return "there is no g++"
    if name == "thread" and shutil.which("setarch") is None:
        return "there is no setarch"
    missing = [each for each in MODES[name].runtimes if _runtime(each) is None]
    return f"g++ comes without {', '.join(missing)}" if missing else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--build-only", action="store_true")
    chosen, given = parser.parse_known_args()
    if (missing := why_not(chosen.mode)) is not None:
        parser.error(missing)
    package = build(chosen.mode)
    if chosen.build_only:
        return 0
    passed, reports = run(chosen.mode, package, given or default_tests(chosen.mode))
    sys.stdout.writelines(f"{report}\n\n" for report in reports)
    sys.stdout.write(
        f"{chosen.mode}: tests {'passed' if passed else 'failed or never ended'}, {len(reports)} reports\n"
    )
    return 0 if passed and not reports else 1


def default_tests(name: str) -> list[str]:
    """The arguments of pytest that run what enters native code: in two processes, but for leaks.

    They are looked for at the end of a process, to which those of pytest-xdist do not come.
    """
    files = [str(ROOT / f"tests/test_{each}.py") for each in MODES[name].tests]
    return [*files, "-k", LEFT_OUT, *([] if "LSAN_OPTIONS" in MODES[name].options else ["-n", "2"])]


def build(name: str, *extensions: str) -> Path:
    """A folder with the package as it is, and its extensions, or those named, built for the sanitizer ``name``."""
    folder = ROOT / "build/sanitizers" / (MODES[name].build or name)
    package = folder / "lib/collage_jax"
    link = [flag for flag in flags(name) if flag.startswith("-fsanitize")]
    if name == "thread":
        link += _edges(folder)
    environment = os.environ | {"COLLAGE_JAX_CXXFLAGS": " ".join(flags(name)), "LDFLAGS": " ".join(link)}
    if extensions:
        environment["COLLAGE_JAX_EXTENSIONS"] = " ".join(extensions)
    places = f"--build-lib={folder / 'lib'}", f"--build-temp={folder / 'objects'}"
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", *places], cwd=ROOT, env=environment, check=True, text=True
    )
    for old in [*package.rglob("*.py")]:  # of modules that are elsewhere by now
        old.unlink()
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "collage_jax", package, ignore=ignored, dirs_exist_ok=True)
    build_preloaded(name, folder / "lib")
    return folder / "lib"


def build_preloaded(name: str, lib: Path) -> None:
    """Builds what the mode ``name`` preloads of ours, if it does."""
    if made := _preloaded(name, lib):
        source = HERE / MODES[name].preload
        subprocess.run(["g++", "-O1", "-shared", "-fPIC", str(source), "-o", str(made)], check=True)


def flags(name: str) -> tuple[str, ...]:
    """What the compiler is told for the sanitizer ``name``."""
    return MODES[MODES[name].build or name].flags


def _edges(folder: Path) -> list[str]:
    """What links an extension such that the thread sanitizer knows what OpenMP orders."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / "openmp_edges.o"
    command = ["g++", "-std=c++17", "-O1", "-g1", "-fPIC", "-c", str(HERE / "openmp_edges.cc"), "-o", str(made)]
    subprocess.run(command, check=True)
    return [*(f"-Wl,--wrap=GOMP_{name}" for name in ("parallel", "barrier", "loop_end")), str(made)]


def run(name: str, lib: Path, arguments: list[str]) -> tuple[bool, list[str]]:
    """Whether pytest passes with ``arguments``, and what the sanitizer found in our code, each once."""
    reports = ROOT / "build/sanitizers" / name / "reports" / str(os.getpid())
    # -P: not from this folder, where the package is not instrumented.
    outcome = reports / "pytest.xml"
    command = [
        sys.executable,
        "-P",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--junitxml={outcome}",
        *arguments,
    ]
    subprocess.run(fixed(name, command), cwd=ROOT, env=environment(name, reports, lib))
    return _passed(outcome), sorted(set(found(reports)))


def _preloaded(name: str, lib: Path) -> Path | None:
    """Where what the mode ``name`` preloads of ours is, if it does."""
    source = MODES[name].preload
    return lib / Path(source).with_suffix(".so") if source else None


def fixed(name: str, command: list[str]) -> list[str]:
    """``command`` as the sanitizer needs it: the shadow memory of threads has fixed places."""
    return ["setarch", "-R", *command] if name == "thread" else command


def _passed(outcome: Path) -> bool:
    """True if pytest came to its end and all tests passed. A sanitizer has its own idea of a process's status."""
    if not outcome.exists():
        return False
    suites = ElementTree.parse(outcome).getroot().findall("testsuite")
    counts = [int(suite.get(kind, 0)) for suite in suites for kind in ("failures", "errors")]
    return sum(counts) == 0 and sum(int(suite.get("tests", 0)) for suite in suites) > 0


def environment(name: str, reports: Path, lib: Path) -> dict[str, str]:
    """What a process with the sanitizer ``name`` gets: its ``reports`` go to that folder, emptied now."""
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir(parents=True)
    log = f":log_path={reports / 'report'}"
    mode = MODES[name]
    # What only setup.py reads, the package takes for a mistake.
    given = {name: value for name, value in os.environ.items() if not name.startswith("COLLAGE_JAX_")}
    return given | {
        **{
            variable: value + (log if variable.endswith("_OPTIONS") else "") for variable, value in mode.options.items()
        },
        "LD_PRELOAD": ":".join(str(each) for each in (*map(_runtime, mode.runtimes), _preloaded(name, lib)) if each),
        "PYTHONPATH": str(lib),
        "HYPOTHESIS_PROFILE": os.environ.get("HYPOTHESIS_PROFILE", "brief"),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", _QUICK_XLA),
        "OMP_NUM_THREADS": "4",  # more than there are cores, for odd divisions of work
        "TBB_ENABLE_SANITIZERS": "1",  # OpenVINO's threads: else they open a library in a way that ends the process
    }


def found(folder: Path) -> Iterator[str]:
    """What stands in the sanitizer's files there and has our code in it, without what differs from run to run."""
    for file in sorted(folder.glob("report.*")):
        text = file.read_text(encoding="utf8", errors="replace")
        for report in re.split(r"(?m)^(?:={10,}|-{10,})$|(?=^\S+: runtime error:)|\n\n(?=(?:Ind|D)irect leak)", text):
            if _is_ours(report):
                yield re.sub(r"0x[0-9a-f]+|==\d+==|\(pid=\d+\)|\b[TM]\d+\b", "", report).strip()


def _is_ours(report: str) -> bool:
    """True if our code does it; of a race, both sides as far as known: others keep an order that is not seen.

    Nor is seen that others lock what they wait with, so that of a mutex only one in memory of ours counts.
    """
    if "unlock of an unlocked mutex" in report:
        made = re.search(r"#0 operator new.*\n\s*#1 (.*)", report)
        return OURS.search(made[1] if made else report) is not None
    if "ThreadSanitizer: data race" not in report:
        return OURS.search(report) is not None
    sides = report.split("\n\n")[:2]
    known = [side for side in sides if "[failed to restore the stack]" not in side]
    return bool(known) and all(OURS.search(side) for side in known)


def _runtime(name: str) -> Path | None:
    """Where GCC keeps the library ``name``."""
    done = subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    path = Path(done.stdout.strip())
    return path.resolve() if path.is_absolute() and path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
