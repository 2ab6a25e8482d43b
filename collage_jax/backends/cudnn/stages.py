"""Graphs of cuDNN's that run one after another as one call, for what no single graph can do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...graph.ir import Node, Value
from .tensors import Operand, Tensor


@dataclass(frozen=True)
class Operation:
    """One operation of a graph: what it reads (tensors by name, or numbers) and makes, by cuDNN's names for them."""

    op: str
    inputs: Mapping[str, str | float]
    outputs: Mapping[str, str]
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Output:
    """``value`` as the library stores it: an array of shape ``stored``, which ``finish`` makes the value of.

    It is of dtype ``stored_dtype``, the value's own if that is None.
    """

    value: Value
    stored: tuple[int, ...]
    finish: Callable[[Any], Any] | None = None
    stored_dtype: Any = None


@dataclass(frozen=True, eq=False)
class Stages:
    """``nodes`` of the program as ``graphs``.

    ``given`` are the operands and ``made`` the tensors that operations make, by name; of the latter, ``results`` are
    handed out and the others stay between the graphs.
    """

    nodes: tuple[Node, ...]
    label: str
    given: Mapping[str, Operand]
    made: Mapping[str, Tensor]
    graphs: tuple[tuple[Operation, ...], ...]
    results: Mapping[str, Output]

    @property
    def result(self) -> Value:
        """One of the values that are made."""
        return next(iter(self.results.values())).value

    @property
    def operands(self) -> tuple[Operand, ...]:
        return tuple(self.given.values())

    @property
    def outputs(self) -> tuple[Output, ...]:
        return tuple(self.results.values())

    def spec(self) -> str:
        """The text that the native side reads: see ``csrc/cudnn/build.cc``."""
        uids = {name: i for i, name in enumerate((*self.given, *self.made), 1)}
        tensors = {**{name: operand.tensor for name, operand in self.given.items()}, **self.made}
        stages = [self._stage(operations, uids, tensors) for operations in self.graphs]
        whole = {"stages": stages, "operands": _all(uids, self.given), "results": _all(uids, self.results)}
        return json.dumps(whole, separators=(",", ":"))

    def _stage(self, operations: Sequence[Operation], uids: Mapping[str, int], tensors: Mapping[str, Tensor]) -> Any:
        made = [name for operation in operations for name in operation.outputs.values()]
        read = dict.fromkeys(n for o in operations for n in o.inputs.values() if isinstance(n, str) and n not in made)
        numbers: list[dict[str, Any]] = []

        def source(given: str | float) -> int:
            if isinstance(given, str):
                return uids[given]
            numbers.append({"uid": len(uids) + 1 + len(numbers), "value": given})
            return numbers[-1]["uid"]

        nodes = [
            {
                "op": o.op,
                "in": {port: source(given) for port, given in o.inputs.items()},
                "out": {port: uids[name] for port, name in o.outputs.items()},
                **o.attributes,
            }
            for o in operations
        ]
        described = [
            {"uid": uids[n], "dim": tensors[n].dims, "stride": tensors[n].strides, "type": tensors[n].dtype}
            for n in (*read, *made)
        ]
        return {
            "compute": "FLOAT",
            "tensors": [*described, *numbers],
            "nodes": nodes,
            "operands": _all(uids, read),
            "results": _all(uids, made),
        }


def _all(uids: Mapping[str, int], names: Iterable[str]) -> list[int]:
    return [uids[name] for name in names]
