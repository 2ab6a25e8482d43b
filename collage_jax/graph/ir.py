"""The graph a function is turned into: values, nodes and the graph itself.

*node*: one equation of the flattened jaxpr, or one *composite* (softmax, layer norm, GELU, ...) recognised from its
primitives, which it keeps in ``body`` as its reference meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from .wholes import Whole


@dataclass(frozen=True, eq=False)
class Value:
    """An array that the program makes or takes. Compared by identity.

    ``aval`` is JAX's abstract value: ``shape``, ``dtype`` and ``weak_type``.
    """

    aval: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.aval.shape)

    @property
    def dtype(self) -> Any:
        return self.aval.dtype

    @property
    def ndim(self) -> int:
        return len(self.aval.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize if is_array_dtype(self.dtype) else 0

    def __repr__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


@dataclass(frozen=True, eq=False)
class Constant(Value):
    """A scalar written in the program; ``val`` is a NumPy or Python scalar, ``literal`` what JAX is handed back."""

    val: Any = None

    @property
    def bits(self) -> str:
        """Text equal for scalars equal bit for bit, in any process: tells -0.0 from 0.0, and a NaN equals itself."""
        return np.asarray(self.val, self.dtype).tobytes().hex()


def is_array_dtype(dtype: Any) -> bool:
    """False for JAX's extended dtypes (keys, tokens), which no kernel can take."""
    return not jnp.issubdtype(dtype, jax.dtypes.extended)


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    ``op`` is the primitive's name or the composite's; ``params`` its parameters (for a composite, those in its own
    terms, such as ``{"axis": 1}``). ``inputs`` are in the operation's own order. ``barrier`` marks what no region but
    XLA's may hold: effects, refs, collectives, callbacks, random bits. ``subgraphs`` are the bodies of control flow,
    by parameter name.
    """

    op: str
    params: Mapping[str, Any]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    eqn: Any = None
    body: tuple[Node, ...] = ()
    barrier: bool = False
    subgraphs: Mapping[str, tuple[Graph, ...]] = field(default_factory=dict)

    @property
    def primitives(self) -> tuple[Node, ...]:
        """The primitive nodes this node stands for, in order, those of its body or itself."""
        return tuple(p for n in self.body for p in n.primitives) if self.body else (self,)

    @property
    def has_effects(self) -> bool:
        """True if the node does something besides computing its outputs (prints, writes, calls back)."""
        return any(p.eqn is not None and bool(p.eqn.effects) for p in self.primitives)

    @property
    def out(self) -> Value:
        """The only output."""
        assert len(self.outputs) == 1, self.op
        return self.outputs[0]

    def __repr__(self) -> str:
        return f"{self.op}({', '.join(map(repr, self.inputs))}) -> {', '.join(map(repr, self.outputs))}"


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in topological order, with what goes in and comes out.

    ``constants`` pairs each value the trace closed over with its array. ``wholes`` were found to be one operation each.
    Invariant: an input of a node is a graph input, a constant, a ``Constant`` scalar, or an output of an earlier node.
    """

    inputs: tuple[Value, ...]
    constants: tuple[tuple[Value, Any], ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]
    wholes: tuple[Whole, ...] = ()

    @cached_property
    def position(self) -> dict[Node, int]:
        """Each node's place in ``nodes``."""
        return {node: i for i, node in enumerate(self.nodes)}

    @cached_property
    def producer(self) -> dict[Value, Node]:
        """The node that makes a value; graph inputs and constants have none."""
        return {value: node for node in self.nodes for value in node.outputs}

    @cached_property
    def users(self) -> dict[Value, tuple[Node, ...]]:
        """The nodes that read a value, each once, in order."""
        found: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                found.setdefault(value, []).append(node)
        return {value: tuple(nodes) for value, nodes in found.items()}

    @cached_property
    def output_set(self) -> frozenset[Value]:
        return frozenset(self.outputs)

    def only_user(self, value: Value) -> Node | None:
        """The node that alone reads ``value``, or None if several do, or it is an output of the graph."""
        users = self.users.get(value, ())
        return users[0] if len(users) == 1 and value not in self.output_set else None

    @cached_property
    def predecessors(self) -> dict[int, frozenset[int]]:
        """Places of the nodes that each must follow, by place: those it reads and, for an effect, the effect before."""
        found: dict[int, frozenset[int]] = {}
        effect: int | None = None
        for i, node in enumerate(self.nodes):
            before = {self.position[self.producer[v]] for v in node.inputs if v in self.producer}
            if node.has_effects:
                before |= {effect} if effect is not None else set()
                effect = i
            found[i] = frozenset(before)
        return found

    @cached_property
    def has_effects(self) -> bool:
        """True if a node does something besides computing its outputs."""
        return any(node.has_effects for node in self.nodes)
