"""A region as the text of an OpenVINO model, with the numbers that are written in the program beside it."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ...graph.ir import Constant, Node, Value
from ...graph.region import Region
from .convert import CONVERTERS
from .tensors import Model, Refused, Tensor, shape_of

#: Types that the library's CPU plugin computes in as JAX does, as the native side calls them.
TYPES = {"float32": "f32", "int32": "i32", "bool": "pred"}

#: Frozen arrays and literals begin at multiples of this many bytes (``csrc/openvino/recipe.h``).
ALIGNMENT = 64


@dataclass(frozen=True, eq=False)
class Text:
    """A model for the native side: ``literals`` in hexadecimal, ``arrays`` as ``csrc/openvino/recipe.h`` has them."""

    model: str
    literals: str
    arrays: str


def text_of(package: Any, region: Region, frozen: Collection[Value], threads: int) -> Text:
    """``region`` as a model in which the entries in ``frozen`` are constants. Raises ``Refused``."""
    weights = [v for v in region.entries if v in frozen]
    inputs = [v for v in region.entries if v not in frozen]
    root, literals = _serialized(package, _model(package, region, weights, inputs))
    offset = _aligned(len(literals))
    parameters = {layer.get("name"): layer for layer in root.iter("layer") if layer.get("type") == "Parameter"}
    for i, value in enumerate(weights):
        _fix(parameters[f"w{i}"], value, offset)
        offset += _aligned(value.nbytes)
    for i, layer in enumerate(root.iter("layer")):
        layer.set("name", f"n{i}")  # OpenVINO's own names count what the process has made so far
    lists = {"weights": weights, "inputs": inputs, "outputs": region.exits}
    arrays = [f"{name}={','.join(map(_array, values))}" for name, values in lists.items() if values]
    return Text(
        ElementTree.tostring(root, encoding="unicode"), literals.hex(), " ".join([*arrays, f"threads={threads}"])
    )


def convert(package: Any, region: Region) -> None:
    """Raise ``Refused`` with the reason if ``region`` cannot be said as a model."""
    _model(package, region, [], region.entries)


def convert_node(package: Any, node: Node) -> None:
    """Raise ``Refused`` with the reason if ``node`` can be part of no model."""
    model = Model(package.opset13)
    values = dict.fromkeys(v for v in node.inputs if not isinstance(v, Constant))
    env = {value: model.plain(_parameter(model, value, "x").output(0)) for value in values}
    _run(model, node, env)


def _model(package: Any, region: Region, weights: Sequence[Value], inputs: Sequence[Value]) -> Any:
    model = Model(package.opset13)
    env: dict[Value, Tensor] = {}
    parameters: list[Any] = []
    for prefix, values in (("w", weights), ("i", inputs)):
        for i, value in enumerate(values):
            parameters.append(_parameter(model, value, f"{prefix}{i}"))
            env[value] = model.plain(parameters[-1].output(0))
    for node in region.nodes:
        _run(model, node, env)
    results: list[Any] = []
    for i, value in enumerate(region.exits):
        output = model.as_written(env[value], value)
        if shape_of(output) != list(value.shape):
            raise Refused(f"{value} came out with the sizes {shape_of(output)}")
        if output.get_names():
            raise Refused("an output is an input or another output as it is")
        output.set_names({f"o{i}"})
        results.append(model.ops.result(output))
    return package.Model(results, parameters, "region")


def _parameter(model: Model, value: Value, name: str) -> Any:
    _require_array(value)
    parameter = model.ops.parameter(list(value.shape), np.dtype(value.dtype), name=name)
    parameter.output(0).set_names({name})
    return parameter


def _run(model: Model, node: Node, env: dict[Value, Tensor]) -> None:
    """Convert ``node``, primitive by primitive if there is no other way."""
    for value in node.outputs:
        _require_array(value)
    converter = CONVERTERS.get(node.op)
    if converter is None:
        if not node.body:
            raise Refused(f"{node.op} has no counterpart in OpenVINO, or none is known here")
        for part in node.body:
            _run(model, part, env)
        return
    made = converter(model, node, [_read(model, env, v) for v in node.inputs])
    env.update(zip(node.outputs, made, strict=True))


def _read(model: Model, env: dict[Value, Tensor], value: Value) -> Tensor:
    if isinstance(value, Constant):
        _require_array(value)
        return Tensor(model.constant(value.val, value.dtype), ())
    return env[value]


def _require_array(value: Value) -> None:
    if str(value.dtype) not in TYPES:
        raise Refused(f"its CPU plugin computes in float32 and int32, got {value.dtype}")
    if not all(isinstance(n, int) and n > 0 for n in value.shape):
        raise Refused(f"arrays have fixed sizes and are not empty, got {list(value.shape)}")


def _serialized(package: Any, model: Any) -> tuple[ElementTree.Element, bytes]:
    """The text of ``model`` as a tree, and its constants."""
    with tempfile.TemporaryDirectory(prefix="collage_jax-") as folder:
        text, data = Path(folder, "model.xml"), Path(folder, "model.bin")
        package.serialize(model, str(text), str(data))
        return ElementTree.fromstring(text.read_bytes()), data.read_bytes()


def _fix(layer: ElementTree.Element, value: Value, offset: int) -> None:
    """Make the parameter ``layer`` a constant whose numbers begin at ``offset``."""
    layer.set("type", "Const")
    data = layer.find("data")
    assert data is not None, layer.get("name")
    data.set("offset", str(offset))
    data.set("size", str(value.nbytes))


def _aligned(count: int) -> int:
    return -(-count // ALIGNMENT) * ALIGNMENT


def _array(value: Value) -> str:
    return f"{TYPES[str(value.dtype)]}:{'x'.join(map(str, value.shape))}"
