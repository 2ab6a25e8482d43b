"""The command line: each command does what its help says, and what cannot be is said in one line."""

import io
import json
import subprocess
import sys

import pytest

import collage_jax
from collage_jax import PlacedRegion, Placement, jit
from collage_jax.backends import registry
from collage_jax.command_line import main
from collage_jax.command_line import target as target_module
from collage_jax.config import config
from collage_jax.costs import CostKey, Measured
from collage_jax.database import Database, export_json

PROGRAM = """
import jax.numpy as jnp

def layer(w, x):
    return jnp.tanh(x @ w)

def make():
    return layer, (jnp.full((8, 8), 0.5), jnp.ones((4, 8)))
"""


@pytest.fixture
def target(tmp_path):
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    return f"{file}:make"


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The database of a machine that measured something."""
    monkeypatch.setattr(config, "cache_dir", str(tmp_path / "cache"))
    return Database(tmp_path / "cache" / "costs.sqlite")


def key(region="r", backend="onednn"):
    return CostKey(region, backend, "1", "jaxlib", "cpu", "")


def test_doctor_names_every_backend_and_what_the_machine_can_do(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    main(["doctor"])
    printed = capsys.readouterr().out
    assert all(backend.name in printed for backend in collage_jax.backends())
    assert collage_jax.device.description() in " ".join(printed.split())  # on several lines, if there is much to tell
    assert "jaxlib" in printed


def test_doctor_says_why_a_backend_is_missing(capsys, monkeypatch):
    monkeypatch.setattr(registry, "why_unavailable", lambda b: None if b.name == "xla" else "gone: pip install it")
    monkeypatch.setenv("COLUMNS", "300")
    main(["doctor"])
    assert "not available: gone: pip install it" in capsys.readouterr().out


def test_doctor_tells_switches_threads_and_what_is_kept(kept, capsys, monkeypatch):
    kept.put(key(), Measured(3.0, 0.1, 15))
    monkeypatch.setattr(config, "disable_backends", ["onednn"])
    monkeypatch.setattr(config, "deterministic", True)
    main(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["switched off"] == ["backend onednn", "whatever is not deterministic"]
    assert told["threads"]["processors"] >= 1
    assert "1 costs, 0 decisions" in told["kept"]
    states = {backend["name"]: backend for backend in told["backends"]}
    assert states["onednn"]["unavailable"] == "switched off by `disable_backends`"
    assert states["xla"]["deterministic"]
    assert len(kept) == 1


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_doctor_fits_a_terminal(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    main(["doctor"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= max(columns, 60)


def test_explain_and_bench_print_json_alone(target, capsys):
    main(["explain", target, "--backend", "xla", "--json"])
    assert json.loads(capsys.readouterr().out)["kind"] == "collage_jax placement"
    main(["bench", target, "--backend", "xla", "--rounds", "3", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["rounds"] == 3
    low, median, high = told["ms"]["jax.jit"]
    assert 0 < low <= median <= high


def test_a_table_leaves_shapes_out_where_there_is_no_room(monkeypatch):
    placement = Placement((PlacedRegion("mine", ("dot_general",), "dot", Measured(3.0), {}, "in -> out", key="abc"),))
    assert "in -> out" in str(placement)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert "in -> out" not in str(placement)
    assert max(map(len, str(placement).splitlines())) <= 80


def test_tune_for_the_deterministic_mode_uses_backends_that_promise_bits(target, monkeypatch, registered):
    class Any(collage_jax.Backend):
        name = "any_bits"

        def emit(self, region):
            raise NotImplementedError

    registered(Any())
    asked = {}
    monkeypatch.setattr(target_module, "jit", lambda function, **options: asked.update(options) or jit(function))
    monkeypatch.setattr(config, "tune", "off")
    main(["tune", target, "--deterministic", "--disable-region", "softmax"])
    assert "any_bits" in asked["disable_backends"]
    assert "xla" not in asked["disable_backends"]
    assert asked["disable_regions"] == ("softmax",)


def test_an_interrupt_ends_with_the_code_of_shells(target, monkeypatch, capsys):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(target_module, "jit", interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["explain", target])
    assert ended.value.code == 130
    assert "interrupted" in capsys.readouterr().err


def test_tune_keeps_what_it_decides_and_saves_the_placement(target, tmp_path, capsys):
    saved = tmp_path / "placement.json"
    main(["tune", target, "--frozen", "0", "--budget-s", "5", "--backend", "xla", "--save", str(saved)])
    assert "1.00 times as fast as jax.jit" in capsys.readouterr().out
    assert collage_jax.Placement.load(saved).is_xla


def test_bench_compares_in_turn(target, capsys):
    main(["bench", target, "--backend", "xla", "--rounds", "3"])
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[:2]] == ["jax.jit", "collage_jax.jit"]
    assert "over 3 rounds" in printed[2]


def test_report_is_a_page(target, tmp_path):
    page = tmp_path / "page.html"
    main(["report", target, "--backend", "xla", "-o", str(page)])
    assert page.read_text().startswith("<!doctype html>")


def test_costs_travel_from_one_machine_to_another(kept, tmp_path, capsys):
    kept.put(key("a"), Measured(3.0, 0.1, 15))
    kept.decide("program", "{}")
    exported = tmp_path / "costs.json"
    main(["cache", "list"])
    assert "1 costs, 1 decisions" in capsys.readouterr().out
    main(["cache", "export", str(exported)])
    other = Database(None)
    other.put(key("b"), Measured(5.0, 0.1, 15))
    export_json(other, tmp_path / "other.json")
    main(["cache", "merge", str(tmp_path / "both.json"), str(exported), str(tmp_path / "other.json")])
    assert len(json.loads((tmp_path / "both.json").read_text())["costs"]) == 2
    main(["cache", "import", str(tmp_path / "both.json")])
    assert "1 of 2 costs taken" in capsys.readouterr().out
    assert kept.get(key("b")) is not None


def test_prune_deletes_what_nobody_asks_for_any_more(kept, capsys):
    kept.put(key("a", "xla"), Measured(3.0, 0.1, 15))  # of a version of XLA that is not this one
    main(["cache", "prune"])
    assert "1 costs and decisions deleted" in capsys.readouterr().out
    assert len(kept) == 0


def test_clear_asks_first(kept, capsys, monkeypatch):
    kept.put(key(), Measured(3.0, 0.1, 15))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(SystemExit, match="aborted"):
        main(["cache", "clear"])  # nobody answers
    assert len(kept) == 1
    main(["cache", "clear", "--yes"])
    assert "1 costs and 0 decisions deleted" in capsys.readouterr().out
    assert len(kept) == 0


def test_a_cache_in_memory_has_no_file(monkeypatch):
    monkeypatch.setattr(config, "cache_dir", "off")
    with pytest.raises(SystemExit, match="memory alone; set COLLAGE_JAX_CACHE_DIR"):
        main(["cache", "list"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain"], "Missing argument 'TARGET'"),
        (["tune", "nothing"], ""),
        (["nothing"], "No such command 'nothing'"),
        (["bench", "x.py:make", "--rounds", "1"], "Invalid value for '--rounds'"),
        (["cache", "import", "missing.json"], "does not exist"),
        (["explain", "x.py:make", "--frozen", "a"], "not a valid integer"),
        (["tune", "x.py:make", "--save", "missing/placement.json"], "'missing' must be a folder that exists"),
        (["export", "x.py:make", "-o", "missing/x.cjx"], "'missing' must be a folder that exists"),
        (["report", "x.py:make", "-o", "missing/x.html"], "'missing' must be a folder that exists"),
    ],
)
def test_wrong_commands_are_named(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code not in (0, None)
    assert message in capsys.readouterr().err


def test_what_a_target_returned_is_said(tmp_path):
    (tmp_path / "made.py").write_text("def make():\n    return (5, (1,))\n")
    with pytest.raises(SystemExit, match=r"must return \(function, its arguments\), got tuple of \(int, tuple\)"):
        main(["explain", f"{tmp_path / 'made.py'}:make"])


def test_an_unknown_backend_is_one_line(target):
    with pytest.raises(SystemExit, match=r"collage-jax: .*no_such"):
        main(["explain", target, "--backend", "no_such"])


def test_it_runs_as_a_module():
    command = [sys.executable, "-P", "-m", "collage_jax", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip().endswith(collage_jax.__version__)
