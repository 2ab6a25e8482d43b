"""Canonical text and hash of a region: equal for regions that do the same work on the same shapes and dtypes.

Names, places in the program and the values of arrays do not enter; operations, parameters, wiring, shapes, dtypes and
scalars do. Eight equal transformer layers have eight equal hashes, so they are measured and searched once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .. import _compat
from .ir import Constant, Graph, Node, Value
from .region import Region
from .trace import PLAIN_CALLS

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")

#: Parameters that say where something runs or what it is called, not what it computes.
IGNORED = frozenset({"name", "sharding", "out_sharding", "jvp", "symbolic_zeros", "num_consts_hint"})


def region_key(region: Region, marked: Iterable[Value] = ()) -> str:
    """Hash of ``region``; ``marked`` entries (the frozen ones, say) are told apart from the others."""
    return hashlib.sha256(region_text(region, marked).encode()).hexdigest()[:32]


def region_text(region: Region, marked: Iterable[Value] = ()) -> str:
    """One line per node: ``op{parameters}(operands)->types``; operands are ``eI`` entries, ``vI`` made inside."""
    marked = set(marked)
    names: dict[Value, str] = {}
    lines = []
    for i, entry in enumerate(region.entries):
        names[entry] = f"e{i}"
        lines.append(f"e{i}:{_type(entry)}{'*' if entry in marked else ''}")
    lines += [_node_text(node, names) for node in region.nodes]
    lines.append("exits " + ",".join(names[v] for v in region.exits))
    return "\n".join(lines)


def _node_text(node: Node, names: dict[Value, str]) -> str:
    operands = ",".join(_operand(v, names) for v in node.inputs)
    for value in node.outputs:
        names[value] = f"v{len(names)}"
    made = ",".join(f"{names[v]}:{_type(v)}" for v in node.outputs)
    inner = dict(names)
    inside = "[" + ";".join(_node_text(part, inner) for part in node.body) + "]" if node.body else ""
    return f"{node.op}{_params(node.params)}{inside}({operands})->{made}"


def _operand(value: Value, names: dict[Value, str]) -> str:
    return f"{value.val}={value.bits}:{_type(value)}" if isinstance(value, Constant) else names[value]


def _type(value: Value) -> str:
    weak = "~" if value.aval.weak_type else ""
    return f"{value.dtype}{list(value.shape)}{weak}"


def _params(params: Mapping[str, Any]) -> str:
    kept = {k: v for k, v in params.items() if k not in IGNORED and v is not None}
    return "{" + " ".join(f"{k}={parameter_text(v)}" for k, v in sorted(kept.items())) + "}"


def parameter_text(value: Any) -> str:
    """Text that is equal for equal parameters in any process: arrays by content, functions by name, jaxprs by line."""
    if isinstance(value, np.ndarray):
        return f"array{value.dtype}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()[:16]}"
    if isinstance(value, (tuple, list)) and type(value) in (tuple, list):
        return "(" + ",".join(map(parameter_text, value)) + ")"
    if _compat.is_jaxpr(value):
        return _jaxpr_text(value)
    if callable(value) and not isinstance(value, type):
        return getattr(value, "__qualname__", type(value).__qualname__)
    # What an object holds may have no better name than its place in memory.
    return _ADDRESS.sub("", repr(value))


def _jaxpr_text(closed: Any) -> str:
    jaxpr, _ = _compat.open_jaxpr(closed)
    names: dict[Any, str] = {}

    def named(var: Any) -> str:
        name = names[var] = f"v{len(names)}"
        return f"{name}:{var.aval}"

    def operand(atom: Any) -> str:
        return f"{atom.val}:{atom.aval}" if isinstance(atom, _compat.Literal) else names[atom]

    lines = [",".join(map(named, (*jaxpr.constvars, *jaxpr.invars)))]
    for eqn in jaxpr.eqns:
        held = PLAIN_CALLS.get(eqn.primitive.name)
        name = eqn.primitive.name if held is None else "call"
        params = _params(eqn.params if held is None else {"called": eqn.params[held]})
        operands = ",".join(map(operand, eqn.invars))
        lines.append(f"{name}{params}({operands})->{','.join(map(named, eqn.outvars))}")
    return "{" + ";".join(lines) + "|" + ",".join(map(operand, jaxpr.outvars)) + "}"


def graph_key(graph: Graph, marked: Iterable[Value] = ()) -> str:
    """Hash of all of ``graph``: equal for programs in which equal regions stand in equal places."""
    return region_key(Region.of(graph, graph.nodes), marked)
