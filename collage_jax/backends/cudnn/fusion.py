"""One graph of operations that cuDNN runs as a whole: an anchor, then what is done to its result before storing it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from ...graph.ir import Node, Value
from .stages import Output
from .tensors import Kind, Operand, Tensor

#: What a step reads: the operand of that number, the result of the step before (LAST), or a number.
Source: TypeAlias = int | float
LAST = -1

#: Numbers of tensors in the text: operands count from 1, results of steps from here on, numbers from the second.
_FIRST_RESULT, _FIRST_NUMBER = 1_000, 2_000


@dataclass(frozen=True)
class Step:
    """One operation of the graph: ``inputs`` by cuDNN's names, what it makes by the name ``output``."""

    op: str
    inputs: Mapping[str, Source]
    output: str
    made: Tensor
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Fusion:
    """``nodes`` of the program as one graph; ``result`` is the value that the last of them makes.

    ``axes`` are those of ``result``, one for each dimension of cuDNN's tensor, None where that has been added.
    ``stored`` is the shape in which the library stores the result, which JAX then brings into ``result``'s order of
    axes by ``permutation``; None if it is that already. ``precise``: float32 is not rounded to TF32.
    """

    nodes: tuple[Node, ...]
    labels: tuple[str, ...]
    result: Value
    axes: tuple[int | None, ...]
    operands: tuple[Operand, ...]
    steps: tuple[Step, ...]
    compute: str = "FLOAT"
    precise: bool = False
    kind: Kind = "last"
    stored: tuple[int, ...] = ()
    permutation: tuple[int, ...] | None = None
    fuses: bool = True

    @property
    def label(self) -> str:
        return "+".join(self.labels)

    @property
    def last(self) -> Tensor:
        """The tensor of the result."""
        return self.steps[-1].made

    @property
    def outputs(self) -> tuple[Output]:
        permutation = self.permutation
        finish = None if permutation is None else lambda array: array.transpose(permutation)
        return (Output(self.result, self.stored, finish),)

    def then(
        self, mode: str, inputs: Mapping[str, Source], operands: Sequence[Operand] = (), **attributes: Any
    ) -> Fusion:
        """This with a pointwise operation more, which does a part of what a node does."""
        step = Step("pointwise", inputs, "y", self.last, {"mode": mode, **attributes})
        return replace(self, operands=(*self.operands, *operands), steps=(*self.steps, step))

    def followed_by(
        self,
        label: str,
        nodes: Sequence[Node],
        mode: str,
        inputs: Mapping[str, Source],
        operands: Sequence[Operand] = (),
        **attributes: Any,
    ) -> Fusion:
        """This with a pointwise operation more; the last of ``nodes`` makes the new result."""
        return replace(
            self.then(mode, inputs, operands, **attributes),
            nodes=(*self.nodes, *nodes),
            labels=(*self.labels, label),
            result=nodes[-1].out,
        )

    def spec(self) -> str:
        """The text that the native side reads: see ``csrc/cudnn/build.cc``."""
        tensors = [_described(i, o.tensor) for i, o in enumerate(self.operands, 1)]
        nodes, numbers = [], []
        for i, step in enumerate(self.steps):
            inputs = {}
            for name, source in step.inputs.items():
                if isinstance(source, float):
                    numbers.append({"uid": _FIRST_NUMBER + len(numbers), "value": source})
                    inputs[name] = numbers[-1]["uid"]
                else:
                    inputs[name] = _FIRST_RESULT + i - 1 if source == LAST else source
            made = step.made if i == len(self.steps) - 1 else replace(step.made, dtype=self.compute)
            tensors.append(_described(_FIRST_RESULT + i, made))
            nodes.append(
                {"op": step.op, "in": inputs, "out": {step.output: _FIRST_RESULT + i}, **dict(step.attributes)}
            )
        graph = {
            "compute": self.compute,
            "precise": self.precise,
            "tensors": [*tensors, *numbers],
            "nodes": nodes,
            "operands": list(range(1, len(self.operands) + 1)),
            "results": [_FIRST_RESULT + len(self.steps) - 1],
        }
        return json.dumps(graph, separators=(",", ":"))


def _described(uid: int, tensor: Tensor) -> dict[str, Any]:
    return {"uid": uid, "dim": list(tensor.dims), "stride": list(tensor.strides), "type": tensor.dtype}
