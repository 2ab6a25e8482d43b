"""The order of the modules: each imports only from those below it, and only a backend's own files know its name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import collage_jax

PACKAGE = Path(collage_jax.__file__).parent

#: From the lowest to the highest. A module belongs to the longest name that it is, or lies in.
LAYERS = (
    "ffi.entry",
    "_compat",
    "log",
    "spelling",
    "spawn",
    "whole_file",
    "switches",
    "exporting",
    "config",
    "costs",
    "database",
    "store",
    "watch",
    "ffi.native",
    "gpu.device",
    "gpu.xla_target",
    "target",
    "device",
    "calls.processes",
    "sites.site",
    "sites.primitive",
    "ffi.native_call",
    "graph",
    "patterns",
    "host_functions",
    "cuda_kernels",
    "backends.source",
    "backends.base",
    "gpu",  # what is left of it: libraries
    "backends.own_kernels",
    "backends.user_kernels",
    "backends.heads",
    "backends.channel_affine",
    "backends.packed_weights",
    "backends.discovery",
    "backends",
    "candidates",
    "lowering.plan",
    "problem",
    "ffi.program",
    "lowering.in_place",
    "lowering.joining",
    "lowering.build",
    "measure",
    "search",
    "placement",
    "report",
    "tuning.summary",
    "tuning.replay",
    "tuning.contenders",
    "tuning.bridges",
    "tuning.neighbourhood",
    "tuning.graph_level",
    "tuning.pricing",
    "tuning.stages",
    "tuning.pinning",
    "calls.progress",
    "worker.transfer",
    "worker.channel",
    "worker.jobs",
    "worker",
    "calls.deciding",
    "profiling",
    "calls.signature",
    "calls.watching",
    "calls.frozen",
    "calls.between",
    "calls.within",
    "calls.dispatch",
    "api",
    "adapting",
    "equinox",
    "nnx",
    "keras",
    "deviceless",
    "shipping",
    "",  # the package itself: public names
    "testing",
    "fuzz",
    "command_line",
    "__main__",
)

#: Imports made only when a function runs, against the order: a placement prints itself as a report.
DEFERRED = {("placement", f"report.{name}") for name in ("table", "files", "html", "dot", "difference")}

#: The only place for what JAX does not promise to keep.
COMPAT = "_compat"
PRIVATE = ("jax._src", "jax.core", "jax.extend", "jax.interpreters", "jaxlib")

#: Modules beside the backends that are none.
NO_BACKENDS = {"base", "source", "discovery", "registry", "xla"}
#: What several of them share.
SHARED = {"own_kernels", "user_kernels", "heads", "channel_affine", "packed_weights"}


@dataclass(frozen=True)
class Import:
    """``module`` imports ``target``; both without the package's name. ``when`` is "load", "call" or "typing"."""

    module: str
    target: str
    when: str
    line: int

    def __str__(self) -> str:
        return f"{self.module or '__init__'}:{self.line} imports {self.target}"


@cache
def sources() -> dict[str, str]:
    """Text by module name, such as ``backends.base``; a package as its folder is called, not if all docstring."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts, text = path.relative_to(PACKAGE).with_suffix("").parts, path.read_text(encoding="utf8")
        if parts[-1] != "__init__":
            found[".".join(parts)] = text
        elif len(ast.parse(text).body) > 1:
            found[".".join(parts[:-1])] = text
    return found


@cache
def imports() -> tuple[Import, ...]:
    """Every import of one of the package's modules by another."""
    return tuple(found for module in sources() for found in _imports_of(module) if found.target != module)


def _imports_of(module: str) -> Iterator[Import]:
    for node, when in _walk(ast.parse(sources()[module]), "load"):
        if isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            if base is not None:
                for alias in node.names:
                    inner = f"{base}.{alias.name}".lstrip(".")
                    yield Import(module, inner if inner in sources() else base, when, node.lineno)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == PACKAGE.name:
                    yield Import(module, alias.name.partition(".")[2], when, node.lineno)


def _walk(node: ast.AST, when: str) -> Iterator[tuple[ast.AST, str]]:
    """All nodes below ``node``, each with when it runs."""
    for child in ast.iter_child_nodes(node):
        inner = when
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            inner = "call"
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            inner = "typing"
        yield child, inner
        yield from _walk(child, inner)


def _absolute(module: str, node: ast.ImportFrom) -> str | None:
    """The module that ``node`` imports from, None if it is outside the package."""
    name = node.module or ""
    if node.level == 0:
        return name.partition(".")[2] if name.split(".")[0] == PACKAGE.name else None
    parts = module.split(".") if module else []
    is_package = any(other.startswith(f"{module}.") for other in sources()) or not module
    up = node.level - is_package
    return ".".join([*parts[: len(parts) - up], *filter(None, [name])])


def layer(module: str) -> str:
    """The layer ``module`` belongs to."""
    fitting = [name for name in LAYERS if module == name or (name and module.startswith(f"{name}."))]
    if not fitting:
        pytest.fail(f"{module} has no place in LAYERS; give it one, above all that it imports")
    return max(fitting, key=len)


def test_a_module_imports_only_from_layers_below_it():
    wrong = [
        str(found)
        for found in imports()
        if LAYERS.index(layer(found.target)) > LAYERS.index(layer(found.module))
        and found.when != "typing"
        and not (found.when == "call" and (found.module, found.target) in DEFERRED)
    ]
    assert not wrong


def test_every_layer_holds_a_module():
    empty = set(LAYERS) - {layer(module) for module in sources()}
    assert not empty


def test_every_deferred_import_exists():
    made = {(found.module, found.target) for found in imports() if found.when == "call"}
    assert made >= DEFERRED


def test_modules_do_not_import_each_other_in_a_circle():
    needed: dict[str, set[str]] = {module: set() for module in sources()}
    for found in imports():
        if found.when == "load" and not found.module.startswith(f"{found.target}."):
            needed[found.module].add(found.target)
    try:
        TopologicalSorter(needed).prepare()
    except CycleError as cycle:
        pytest.fail(" -> ".join(cycle.args[1]))


def _backends() -> set[str]:
    """Names of the modules and folders that hold a backend, the reference left out."""
    inside = {module.split(".")[1] for module in sources() if module.startswith("backends.")}
    return inside - NO_BACKENDS - SHARED


def _owner(module: str) -> str | None:
    """The backend that ``module`` is a part of."""
    parts = module.split(".")
    return parts[1] if parts[0] == "backends" and len(parts) > 1 and parts[1] in _backends() else None


def test_there_is_a_backend():
    assert _backends()


#: This one's name is that of JAX's platform too.
PLATFORMS = {"cuda"}


@pytest.mark.parametrize("backend", sorted(_backends() - PLATFORMS))
def test_no_other_module_names_a_backend(backend):
    # Packages of others may have its name after their maker's.
    named = re.compile(rf"(?<!nvidia-)\b{re.escape(backend)}\b", re.IGNORECASE)
    wrong = [
        f"{module or '__init__'}:{number}: {line.strip()}"
        for module, text in sources().items()
        if _owner(module) != backend
        for number, line in enumerate(text.splitlines(), 1)
        if named.search(line)
    ]
    assert not wrong


def test_nothing_but_the_registry_reaches_into_a_backend():
    wrong = [str(found) for found in imports() if _owner(found.target) not in (None, _owner(found.module))]
    assert not wrong


def test_a_backend_imports_only_the_contract_the_graph_and_patterns():
    below = LAYERS[: LAYERS.index("backends")]
    wrong = [
        str(found)
        for found in imports()
        if _owner(found.module) and _owner(found.target) is None and layer(found.target) not in below
    ]
    assert not wrong


def test_only_compat_uses_what_jax_keeps_to_itself():
    wrong = [
        f"{module}:{line} uses {name}"
        for module, text in sources().items()
        if module != COMPAT
        for line, name in _outside_names(ast.parse(text))
        if any(name == private or name.startswith(f"{private}.") for private in PRIVATE)
    ]
    assert not wrong


def _outside_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Dotted names that are imported or written out, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Attribute):
            yield node.lineno, ast.unparse(node)
