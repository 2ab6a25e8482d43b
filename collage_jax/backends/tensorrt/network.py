"""A region as a network: its inputs are called i0, i1, ... in the order of the entries, its outputs o0, o1, ..."""

from __future__ import annotations

from ...graph.ir import Constant, Node, Value
from ...graph.region import Region
from .convert import CONVERTERS
from .library import Library
from .tensors import MOST_DIMENSIONS, TYPES, Network, Refused, Tensor


def network_of(library: Library, sm: int, region: Region) -> Network:
    """``region`` as a network. Raises ``Refused``."""
    network = Network(library, sm)
    env = {value: _input(network, value, f"i{i}") for i, value in enumerate(region.entries)}
    for node in region.nodes:
        _add(network, node, env)
    taken = {env[value].made.name for value in region.entries}
    for i, value in enumerate(region.exits):
        made = network.as_written(env[value], value)
        if tuple(made.shape) != value.shape or made.dtype != network.dtype(value.dtype):
            raise Refused(f"{value} came out as {made.dtype} {list(made.shape)}")
        if made.name in taken:  # an input as it is, or an output twice
            made = network.layer("identity", made)
        made.name = f"o{i}"
        taken.add(made.name)
        network.definition.mark_output(made)
    return network


def check_node(library: Library, sm: int, node: Node) -> None:
    """Raise ``Refused`` with the reason if ``node`` can be part of no network."""
    network = Network(library, sm)
    values = dict.fromkeys(v for v in node.inputs if not isinstance(v, Constant))
    _add(network, node, {value: _input(network, value, f"i{i}") for i, value in enumerate(values)})


def _input(network: Network, value: Value, name: str) -> Tensor:
    _require_array(network, value)
    return network.plain(network.definition.add_input(name, network.dtype(value.dtype), value.shape))


def _add(network: Network, node: Node, env: dict[Value, Tensor]) -> None:
    """Convert ``node``, primitive by primitive if there is no other way."""
    for value in (*node.inputs, *node.outputs):
        _require_array(network, value)
    converter = CONVERTERS.get(node.op)
    made = None if converter is None else converter(network, node, [_read(network, env, v) for v in node.inputs])
    if made is not None:
        env.update(zip(node.outputs, made, strict=True))
    elif node.body:
        for part in node.body:
            _add(network, part, env)
    else:
        raise Refused(f"{node.op} has no counterpart in TensorRT, or none is known here")


def _read(network: Network, env: dict[Value, Tensor], value: Value) -> Tensor:
    return Tensor(network.constant(value.val, value.dtype), ()) if isinstance(value, Constant) else env[value]


def _require_array(network: Network, value: Value) -> None:
    dtype = str(value.dtype)
    if dtype not in TYPES:
        raise Refused(f"networks are of {', '.join(TYPES)}, got {value.dtype}")
    if dtype == "bfloat16" and network.sm < 80:
        raise Refused(f"bfloat16 needs sm_80 or newer, this is for sm_{network.sm}")
    if not all(isinstance(n, int) and n > 0 for n in value.shape):
        raise Refused(f"arrays have fixed sizes and are not empty, got {list(value.shape)}")
    if value.ndim > MOST_DIMENSIONS:
        raise Refused(f"arrays have at most {MOST_DIMENSIONS} dimensions, got {value.ndim}")
