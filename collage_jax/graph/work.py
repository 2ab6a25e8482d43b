"""What a region has to do, by counting: operations of products and convolutions, and bytes that go in and come out."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from .ir import Node
from .region import Region


def operations(nodes: Iterable[Node]) -> float:
    """Floating-point operations of all products and convolutions, two for each multiplication with its addition.

    Multiplications by padding count, as is usual; everything else does not. Bodies of control flow count as often as
    ``repeats`` says.
    """
    return float(sum(_operations(primitive) + _inside(primitive) for node in nodes for primitive in node.primitives))


def repeats(node: Node) -> int:
    """How often the bodies of ``node`` run: the length of a scan; 1 where nothing is known before."""
    return int(node.params["length"]) if node.op == "scan" else 1


def _inside(node: Node) -> float:
    return repeats(node) * sum(operations(body.nodes) for bodies in node.subgraphs.values() for body in bodies)


def traffic(region: Region) -> float:
    """Bytes of all arrays that ``region`` reads and makes, each once; frozen ones included."""
    return float(sum(v.size * v.dtype.itemsize for v in (*region.entries, *region.exits)))


def summands(node: Node) -> int:
    """How many products make one element of the result of ``node``, a product or convolution; 0 for any other."""
    if node.op == "dot_general":
        (contracted, _), _ = node.params["dimension_numbers"]
        return prod(node.inputs[0].shape[axis] for axis in contracted)
    if node.op == "conv_general_dilated":
        weights = node.inputs[1]
        features = weights.shape[node.params["dimension_numbers"][1][0]]
        return max(1, weights.size // max(1, features))
    return 0


def _operations(node: Node) -> float:
    count = summands(node)
    return 2.0 * count * node.out.size if count else 0.0
