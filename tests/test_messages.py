"""A table of bad inputs: arguments, settings, the environment, files, commands.

Each gives one message that says the rule, the value that breaks it, and what to do.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import pytest
from api_fakes import use_fake

import collage_jax
from collage_jax import Placement, config
from collage_jax.command_line import main
from collage_jax.config import TUNE_MODES, Config
from collage_jax.database import Database, import_json
from collage_jax.patterns import any_, relu
from collage_jax.testing import Effort, arguments, backend_contract, case, check_backend

X, W = jnp.ones((3, 4)), jnp.ones((4, 2))

PROGRAM = """
def layer(w, x):
    return x @ w

def make():
    import jax.numpy as jnp
    return layer, (jnp.ones((4, 2)), jnp.ones((3, 4)))

def needs(size):
    return layer, ()

def halves():
    return layer

def breaks():
    raise KeyError("weights")

three = 3
"""


def product(x, w):
    return x @ w


def power(x, w, n):
    return (x @ w) ** n


class Mine(collage_jax.Backend):
    name = "mine"

    def emit(self, region):
        raise NotImplementedError


def mine(**members):
    return type("Mine", (Mine,), members)()


@dataclass(frozen=True)
class Bad:
    """``do`` gets a place with ``folder``, ``placement``, ``file(text)``, ``set(variable, value)``."""

    about: str
    do: Callable[[Any], Any]
    rule: str
    value: str
    remedy: str


jit = collage_jax.jit


def document(at: Any, **changed: Any) -> Path:
    return at.file(json.dumps(json.loads(at.placement.to_json()) | changed))


def environment(name: str, value: str) -> Callable[[Any], Any]:
    def read(at: Any) -> None:
        at.set(name, value)
        Config()

    return read


def setting(name: str, value: Any) -> Callable[[Any], Any]:
    return lambda at: at.setting(name, value)


def decorated_with(name: str, value: Any) -> Callable[[Any], Any]:
    """A function decorated and called, with a default that is wrong."""

    def call(at: Any) -> None:
        at.setting(name, value)
        jit(product)(X, W)

    return call


def command(*arguments: str) -> Callable[[Any], Any]:
    return lambda at: main([a.format(program=at.program, folder=at.folder) for a in arguments])


NAMES = "known: fake, xla"
FILE = "give a file that Placement.save wrote"

ARGUMENTS = [
    Bad("fun", lambda at: jit(3), "`fun` must be callable", "got int", "pass the function itself, not its result"),
    Bad(
        "backends: a text", lambda at: jit(product, backends="fake"), "a sequence of names", "'fake'", "write ['fake']"
    ),
    Bad("backends: a typo", lambda at: jit(product, backends=["fkae"]), NAMES, "'fkae'", "did you mean 'fake'?"),
    Bad("backends: capitals", lambda at: jit(product, backends=["Fake"]), NAMES, "'Fake'", "did you mean 'fake'?"),
    Bad(
        "backends: a number",
        lambda at: jit(product, backends=[3]),
        "must hold names",
        "got 3",
        "collage_jax.backends()",
    ),
    Bad("tune: a typo", lambda at: jit(product, tune="twolevel"), "one of", "'twolevel'", "did you mean 'two-level'?"),
    Bad("tune: no word of ours", lambda at: jit(product, tune=7), "`tune` must be one of", "got 7", "omit it"),
    Bad("budget_s: below 0", lambda at: jit(product, budget_s=-1), ">= 0 seconds", "got -1", "omit it for 60"),
    Bad("budget_s: a text", lambda at: jit(product, budget_s="1"), "a number of seconds", "got str", "omit it for 60"),
    Bad("tolerance: NaN", lambda at: jit(product, tolerance=float("nan")), "a number >= 0", "got nan", "omit it"),
    Bad("tolerance: a flag", lambda at: jit(product, tolerance=True), "must be a number", "got True", "omit it"),
    Bad(
        "frozen: too far", lambda at: jit(product, frozen_argnums=2), "2 positional arguments", "got 2", "count from 0"
    ),
    Bad("frozen: a name", lambda at: jit(product, frozen_argnums="w"), "hold integers", "got 'w'", "counted from 0"),
    Bad(
        "frozen: static too",
        lambda at: jit(product, frozen_argnums=1, static_argnums=1),
        "cannot be both frozen and static",
        "`frozen_argnums`=(1,)",
        "take it out of one",
    ),
    Bad(
        "placement: a number", lambda at: jit(product, placement=3), "a Placement or the path", "int", "Placement.save"
    ),
    Bad(
        "deterministic: a text",
        lambda at: jit(product, deterministic="on"),
        "`deterministic` must be True or False",
        "got 'on'",
        "give one of them",
    ),
    Bad(
        "disable_backends: a typo",
        lambda at: jit(product, disable_backends=["fakr"]),
        NAMES,
        "'fakr'",
        "did you mean 'fake'?",
    ),
    Bad(
        "disable_backends: xla", lambda at: jit(product, disable_backends=["xla"]), "must leave", "'xla'", "take it out"
    ),
    Bad(
        "disable_regions: a text",
        lambda at: jit(product, disable_regions="softmax"),
        "`disable_regions` must be a sequence of names",
        "'softmax'",
        "write ['softmax']",
    ),
    Bad(
        "disable_regions: a number",
        lambda at: jit(product, disable_regions=[3]),
        "must hold names",
        "got 3",
        "as `explain` prints them",
    ),
    Bad(
        "disabled: a typo",
        lambda at: collage_jax.disabled(backends=["fak"]).__enter__(),
        NAMES,
        "'fak'",
        "did you mean 'fake'?",
    ),
    Bad(
        "a call without what is frozen",
        lambda at: jit(lambda x, w=W: x @ w, frozen_argnums=1)(X),
        "`frozen_argnums` names argument 1",
        "1 positional ones",
        "pass the frozen",
    ),
    Bad(
        "a static value that cannot be hashed",
        lambda at: jit(power, static_argnums=2).placement(X, W, [2]),
        "must be hashable",
        "unhashable type: 'list'",
        "give a tuple for a list",
    ),
    Bad(
        "a placement of another program",
        lambda at: jit(product, placement=at.placement)(X[:2], W),
        "made for another program",
        "other operations, shapes, dtypes",
        "let this one be tuned again",
    ),
]

PLACEMENTS = [
    Bad("no file", lambda at: Placement.load(at.folder / "no.json"), "a file that can be read", "no.json", FILE),
    Bad("a folder", lambda at: Placement.load(at.folder), "a file that can be read", "directory", FILE),
    Bad("empty", lambda at: Placement.load(at.file("")), "must be JSON", "line 1 column 1", FILE),
    Bad("bytes", lambda at: Placement.load(at.file(b"\xff\xfe\x00")), "text in UTF-8", "byte 0xff", FILE),
    Bad("other JSON", lambda at: Placement.load(at.file("[1]")), "must be an object", "got [1]", FILE),
    Bad("other object", lambda at: Placement.load(at.file("{}")), "must have the member 'kind'", "the document", FILE),
    Bad("cut short", lambda at: Placement.load(at.file(at.placement.to_json()[:99])), "must be JSON", "line", FILE),
    Bad("NaN", lambda at: Placement.load(document(at, tuning_s=float("nan"))), "must be finite", "got NaN", FILE),
    Bad("a text for a number", lambda at: Placement.load(document(at, tuning_s="1")), "tuning_s must be", "'1'", FILE),
    Bad("newer", lambda at: Placement.load(document(at, format=99)), "1 or older", "got 99", "update collage_jax"),
    Bad(
        "saved in no folder", lambda at: at.placement.save(at.folder / "no" / "p.json"), "exists", "no", "make it first"
    ),
    Bad(
        "saved as no program", lambda at: Placement(()).save(at.folder), "a program", "XLA runs everything", "leave it"
    ),
    Bad("page in a folder", lambda at: at.placement.to_html(at.folder), "a file to write", "a folder", "give a name"),
    Bad("diff", lambda at: at.placement.diff(3), "must be a Placement", "got 3", "Placement.load"),
    Bad(
        "without: a backend",
        lambda at: at.placement.without(backends=["fkae"]),
        "must hold backends of this placement",
        "'fkae'",
        "did you mean 'fake'?",
    ),
    Bad(
        "without: a region",
        lambda at: at.placement.without(regions=["dot_genral"]),
        "names or operations of this placement's regions",
        "'dot_genral'",
        "did you mean 'dot_general'?",
    ),
    Bad("costs: no object", lambda at: import_json(Database(None), at.file("[]")), "must be", "[]", "export it anew"),
    Bad("costs: cut short", lambda at: import_json(Database(None), at.file("{")), "must be JSON", "b'{'", "export it"),
    Bad(
        "costs: not ours", lambda at: import_json(Database(None), at.file("{}")), "format must be", "None", "export it"
    ),
    Bad("a database of nothing", lambda at: Database(None, max_costs=0), "at least 1", "got 0", "leave it out"),
]

SETTINGS = [
    Bad("a setting that is none", setting("budgets", 1), "no setting called", "'budgets'", "did you mean 'budget_s'?"),
    Bad("worker", setting("worker", "off"), "`worker` must be True or False", "got 'off'", "set it to one of them"),
    Bad("cache_dir", setting("cache_dir", 3), "a path or None", "got 3", "set it to the path as a text"),
    Bad("disable_backends", setting("disable_backends", "a"), "a sequence of names", "the string 'a'", "write ['a']"),
    Bad("disable_regions", setting("disable_regions", 3), "a sequence of names", "got 3", "leave it out"),
    Bad("deterministic", setting("deterministic", 1), "must be True or False", "got 1", "set it to one of them"),
    Bad("tune", setting("tune", "of"), "`tune` must be one of", "got 'of'", "did you mean 'off'?"),
    Bad("tune: no word of ours", setting("tune", "nope"), "one of 'two-level'", "'nope'", "the default is 'two-level'"),
    Bad("budget_s", setting("budget_s", -1), "`budget_s` must be >= 0 seconds", "got -1", "the default is 60"),
    Bad("budget_s: a text", setting("budget_s", "9"), "must be a number of seconds", "got str", "the default is 60"),
    Bad("backends: a text", setting("backends", "fake"), "a sequence of names", "'fake'", "write ['fake']"),
    Bad("backends: a number", setting("backends", 3), "a sequence of names", "got 3", "set it to None to allow"),
    Bad("backends", decorated_with("backends", ("no",)), NAMES, "'no'", "set there or by COLLAGE_JAX_BACKENDS"),
    Bad(
        "disabled backends",
        decorated_with("disable_backends", ["xla"]),
        "must leave",
        "'xla'",
        "set there or by COLLAGE_JAX_DISABLE_BACKENDS",
    ),
    Bad("placements", decorated_with("placements", "/no/folder"), "a folder", "'/no/folder'", "COLLAGE_JAX_PLACEMENTS"),
]

VARIABLES = [
    Bad("seconds", environment("COLLAGE_JAX_BUDGET_S", "soon"), "number of seconds", "'soon'", "unset it for 60"),
    Bad("seconds below 0", environment("COLLAGE_JAX_BUDGET_S", "-1"), "must be >= 0", "got -1", "unset it for 60"),
    Bad("a mode", environment("COLLAGE_JAX_TUNE", "of"), "COLLAGE_JAX_TUNE must be one of", "'of'", "mean 'off'?"),
    *(
        Bad(name, environment(f"COLLAGE_JAX_{name}", "maybe"), "must be on or off", "'maybe'", "unset it for")
        for name in ("WORKER", "PROGRESS", "FLUSH_L2", "DETERMINISTIC")
    ),
]

BACKENDS = [
    Bad("a class", lambda at: collage_jax.register_backend(Mine), "must be an instance", "class Mine", "write Mine()"),
    Bad("no backend", lambda at: collage_jax.register_backend(3), "collage_jax.Backend", "got int", "derive from it"),
    Bad("no name", lambda at: collage_jax.register_backend(mine(name="")), "a name", "got ''", "used in `backends=`"),
    Bad("a kind", lambda at: collage_jax.register_backend(mine(kind="a")), "one of", "got 'a'", "'graph-runtime'"),
    Bad("platforms", lambda at: collage_jax.register_backend(mine(platforms="cpu")), "a tuple", "'cpu'", "('cpu',)"),
    Bad("bits", lambda at: collage_jax.register_backend(mine(deterministic=1)), "True or False", "got 1", "write one"),
    Bad(
        "a term",
        lambda at: collage_jax.register_backend(mine(patterns=[relu(any_("x"))])),
        "must hold Patterns",
        "got Op(",
        "write Pattern('a name', the term)",
    ),
    Bad(
        "a name taken", lambda at: collage_jax.register_backend(mine(name="xla")), "is there already", "'xla'", "choose"
    ),
    Bad("unregistered", lambda at: collage_jax.unregister_backend("no"), "registered", "'no'", "registered: none"),
    Bad(
        "callback: no pattern",
        lambda at: collage_jax.callback_kernel("relu"),
        "takes a pattern",
        "got 'relu'",
        "write @callback_kernel(op(...)(...))",
    ),
    Bad(
        "callback: no function",
        lambda at: collage_jax.callback_kernel(relu(any_("x")))(3),
        "a function of NumPy arrays",
        "got 3",
        "pass the function",
    ),
    Bad(
        "callback: a parameter",
        lambda at: collage_jax.callback_kernel(relu(any_("x")), name="k")(lambda y, out: None),
        "called as what its pattern captures",
        "`y`",
        "then come results: out",
    ),
    Bad(
        "callback: none of that name",
        lambda at: collage_jax.unregister_callback_kernel("no"),
        "no kernel is called",
        "'no'",
        "there are: none",
    ),
    Bad(
        "CUDA: no grid",
        lambda at: collage_jax.cuda_kernel(relu(any_("x")), source="x"),
        "the numbers of its blocks and threads",
        "a kernel needs",
        "pass grid=... and block=...",
    ),
    Bad(
        "CUDA: a grid of nothing",
        lambda at: collage_jax.cuda_kernel(relu(any_("x")), source="x", grid=0, block=1, name="k"),
        "sizes of at least 1",
        "got 0",
        "leave out",
    ),
    Bad(
        "CUDA: an architecture",
        lambda at: collage_jax.cuda_kernel(
            relu(any_("x")), source="x", grid=1, block=1, name="k", options=["-arch=sm_80"]
        ),
        "the GPU that is placed for",
        "'-arch=sm_80'",
        "leave it out",
    ),
    Bad(
        "lower_for: a device",
        lambda at: collage_jax.lower_for(product, X, W, device="sm90"),
        "`device` must be one of 'sm_75'",
        "got 'sm90'",
        "did you mean 'sm_90'?",
    ),
    Bad(
        "lower_for: an argument",
        lambda at: collage_jax.lower_for(product, "x", W),
        "must be arrays",
        "'x' at (args, kwargs)[0][0]",
        "`static_argnums`",
    ),
    Bad("case", lambda at: case(3), "a function of arrays", "got 3", "pass the function itself"),
    Bad("shapes", lambda at: arguments(3), "a text of sizes and names", "got 3", "write 'm k'"),
    Bad("effort", lambda at: backend_contract(Mine(), effort="quik"), "one of", "'quik'", "did you mean 'quick'?"),
    Bad("cases", lambda at: check_backend(Mine(), [product]), "must hold cases", "product", "write case("),
    Bad("tested", lambda at: check_backend(3), "an instance of collage_jax.Backend", "got 3", "make one and pass it"),
]

COMMANDS = [
    Bad("a command", command("explian", "x"), "No such command", "'explian'", "Did you mean 'explain'?"),
    Bad("no target", command("explain"), "Missing argument", "TARGET", "--help"),
    Bad(
        "no colon", command("explain", "program"), "module:name or file.py:name", "'program'", "such as program.py:make"
    ),
    Bad("no module", command("tune", "no_such:make"), "can be imported", "'no_such:make'", "install the module"),
    Bad("no such file", command("tune", "no.py:make"), "can be imported", "'no.py:make'", "give a file that exists"),
    Bad("no such name", command("tune", "{program}:mak"), "a function called", "'mak'", "did you mean 'make'?"),
    Bad("not callable", command("tune", "{program}:three"), "a function called 'three'", "got 3", "name a function"),
    Bad("takes something", command("tune", "{program}:needs"), "without arguments", "'size'", "give the arguments"),
    Bad(
        "returns half",
        command("tune", "{program}:halves"),
        "return (function, its arguments)",
        "got function",
        "end it",
    ),
    Bad("raises", command("tune", "{program}:breaks"), "failed with KeyError", "breaks", "its traceback is above"),
    Bad("a number", command("tune", "{program}:make", "--budget-s", "x"), "not a valid float", "'x'", "--help"),
    Bad("below 0", command("tune", "{program}:make", "--budget-s", "-1"), ">= 0 seconds", "got -1.0", "omit it for 60"),
    Bad("rounds", command("bench", "{program}:make", "--rounds", "1"), "x>=3", "1 is not", "--help"),
    Bad("frozen", command("tune", "{program}:make", "--frozen", "7"), "2 positional", "got 7", "count from 0"),
    Bad("a backend", command("tune", "{program}:make", "--backend", "fkae"), NAMES, "'fkae'", "did you mean 'fake'?"),
    Bad("report", command("report", "{program}:make", "-o", "{folder}/no/p.html"), "exists", "no", "make it first"),
    Bad("no export", command("cache", "import", "no.json"), "does not exist", "'no.json'", "--help"),
    Bad("no cache", command("cache", "list"), "in memory alone", "costs are kept", "set COLLAGE_JAX_CACHE_DIR"),
]

TABLE = {
    f"{kind}: {bad.about}": bad
    for kind, rows in {
        "argument": ARGUMENTS,
        "file": PLACEMENTS,
        "setting": SETTINGS,
        "variable": VARIABLES,
        "backend": BACKENDS,
        "command": COMMANDS,
    }.items()
    for bad in rows
}


@pytest.fixture
def at(monkeypatch, tmp_path):
    use_fake(monkeypatch)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def file(content: str | bytes) -> Path:
        path = tmp_path / "given.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return SimpleNamespace(
        folder=tmp_path,
        placement=jit(product).placement(X, W),
        program=program,
        file=file,
        set=monkeypatch.setenv,
        setting=lambda name, value: monkeypatch.setattr(config, name, value, raising=False),
    )


@pytest.mark.parametrize("bad", TABLE.values(), ids=TABLE)
def test_a_bad_input_gives_one_message_with_rule_value_and_remedy(bad, at, capsys):
    with pytest.raises((Exception, SystemExit)) as raised:
        bad.do(at)
    said = str(raised.value)
    if isinstance(raised.value, SystemExit):
        assert raised.value.code not in (0, None)
        shown = capsys.readouterr().err
        said = said if isinstance(raised.value.code, str) else shown
        assert "Traceback" not in shown or bad.about == "raises"
    for part in (bad.rule, bad.value, bad.remedy):
        assert part in said
    assert len(said) < 600
    assert isinstance(raised.value, SystemExit) or "\n" not in said


def test_the_table_is_of_forty_at_least():
    assert len(TABLE) == sum(map(len, (ARGUMENTS, PLACEMENTS, SETTINGS, VARIABLES, BACKENDS, COMMANDS))) >= 40


UNKNOWN = [
    ("disable_backends", "fkae", "no backend is called 'fkae'; known: fake, xla; did you mean 'fake'?"),
    ("disable_regions", "softmx", "got 'softmx', which switches nothing off; did you mean 'softmax'?"),
    ("disable_regions", "convv", "got 'convv', which switches nothing off; did you mean 'conv_general_dilated'?"),
    ("disable_regions", "3f9c1a7", "got '3f9c1a7', which switches nothing off"),
]


@pytest.mark.parametrize(("name", "value", "said"), UNKNOWN)
def test_a_name_that_is_switched_off_and_nothing_has_is_a_warning(name, value, said, at):
    at.setting(name, [value])
    with pytest.warns(UserWarning, match=re.escape(said)) as warned:
        placed = jit(product)
    assert len(warned) == 1
    assert placed(X, W).shape == (3, 2)


def test_a_region_that_a_function_switches_off_and_nothing_is_called_so_is_a_warning(at):
    with pytest.warns(UserWarning, match=r"by their full names.*got 'dot'.*did you mean 'dot_general'\?") as warned:
        jit(product, disable_regions=["dot"])
    assert len(warned) == 1 and warned[0].filename == __file__


def test_a_backend_may_be_registered_after_it_was_switched_off(at):
    at.setting("disable_backends", ["mine"])
    with pytest.warns(UserWarning, match="no backend is called 'mine'"):
        jit(product)
    collage_jax.register_backend(Mine())
    try:
        assert jit(product).placement(X, W)
        assert {b.name: b.unavailable for b in collage_jax.backends()}["mine"] == "switched off by `disable_backends`"
    finally:
        collage_jax.unregister_backend("mine")


NAMED = ["tanh", "softmax", "gelu_gradient", "conv_general_dilated", "3f9c1a70", "add_any", "while"]


@pytest.mark.parametrize("name", NAMED)
def test_names_of_operations_and_regions_are_taken(name, at):
    at.setting("disable_regions", [name])
    jit(product, disable_regions=[name])


def test_doctor_marks_what_is_switched_off_and_unknown(at, capsys):
    at.setting("disable_backends", ["fake", "fkae"])
    at.setting("disable_regions", ["tanh", "convv"])
    main(["doctor", "--json"])
    off = ["backend fake", "backend fkae (unknown)", "region convv (unknown)", "region tanh"]
    assert json.loads(capsys.readouterr().out)["switched off"] == off


def test_unknown_names_in_the_environment_do_not_end_the_import():
    environment = os.environ | {"COLLAGE_JAX_DISABLE_BACKENDS": "onednm", "COLLAGE_JAX_DISABLE_REGIONS": "convv"}
    command = [sys.executable, "-P", "-c", "import collage_jax; [collage_jax.jit(lambda x: x) for _ in range(2)]"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr.count("did you mean 'onednn'?") == 1
    assert done.stderr.count("did you mean 'conv_general_dilated'?") == 1


def test_a_mode_in_the_environment_may_be_in_capitals(monkeypatch):
    monkeypatch.setenv("COLLAGE_JAX_TUNE", " OFF")
    assert Config().tune == "off"


def test_a_file_that_may_not_be_read(at):
    path = at.file(at.placement.to_json())
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(PermissionError, match=r"must be a file that can be read \(Permission denied\)"):
        Placement.load(path)
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)


def test_a_variable_that_means_nothing_is_warned_of_once():
    environment = os.environ | {"COLLAGE_JAX_DISABLE_BACKEND": "fake", "COLLAGE_JAX_TUNE": "off"}
    script = "import collage_jax, importlib, collage_jax.api"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stderr.count("which means nothing to collage_jax") == 1
    assert "COLLAGE_JAX_DISABLE_BACKEND," in done.stderr
    assert "did you mean 'COLLAGE_JAX_DISABLE_BACKENDS'?" in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("COLLAGE_JAX_BUDGET_S", "soon", "must be a number of seconds, got 'soon'; unset it for 60"),
        ("COLLAGE_JAX_TUNE", "of", f"must be one of {', '.join(map(repr, TUNE_MODES))}, got 'of'; did you mean 'off'?"),
        ("COLLAGE_JAX_DETERMINISTIC", "2", "must be on or off, got '2'; unset it for off"),
    ],
)
def test_a_variable_that_is_wrong_ends_the_import_with_its_message(variable, value, said):
    command = [sys.executable, "-P", "-c", "import collage_jax"]
    done = subprocess.run(
        command, env=os.environ | {variable: value}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == f"ValueError: {variable} {said}"


@pytest.mark.parametrize("value", [Effort(1, 1, 1, 1, 1), "quick"])
def test_what_is_right_is_taken(value):
    assert backend_contract(Mine(), effort=value).backend.name == "mine"


def test_a_cache_directory_that_is_a_file_is_one_warning(at, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    database = Database(tmp_path / "file" / "costs.sqlite")
    with pytest.warns(RuntimeWarning, match=r"cannot be used.*costs live in memory") as warned:
        assert database.decision("program") is None
    assert len(warned) == 1
