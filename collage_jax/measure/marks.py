"""Marks around a program on a GPU, between which the GPU itself takes the time (csrc/cuda/mark.h).

    flush -> begin -> barrier of an operand -> function -> end, which takes all results

XLA may run in any order what does not depend on one another. The end has all results among its operands. A barrier
makes an operand depend on the begin: XLA's compiler for GPUs takes barriers out when the order is settled. It takes
the one operand that most of the function depends on, since XLA optimizes less across a barrier, and what is timed must
be what runs; what does not depend on that operand follows the begin in practice, not by a rule. So ``misplaced`` looks
at the compiled program, and what fails that is compiled again with all operands behind the barrier. What depends on no
operand at all, such as an array of zeros, may then still come before the begin, and is not counted.

The flush is a call of its own: XLA puts off what makes a large array, which the begin must not wait for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..graph.ir import Value
from ..graph.trace import trace_function

TARGET = "collage_cuda_mark_v1"

_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%(\S+) = .*? ([a-z][\w-]*)\((.*)")
#: Instructions that run nothing.
_FREE = frozenset({"parameter", "constant", "tuple", "get-tuple-element", "bitcast"})


def marked(
    function: Callable[..., Any], timer: int, flush_bytes: int = 0, all_operands: bool = True
) -> Callable[..., Any]:
    """``function`` between marks of ``timer``; it gives a pair, the results and an array that is there after the end.

    ``flush_bytes`` are written before the begin. ``all_operands`` are behind the barrier, or only the ``leading`` one.
    """

    def run(*operands: Any) -> tuple[Any, Any]:
        leaves, tree = jax.tree.flatten(operands)
        held = range(len(leaves)) if all_operands or not leaves else [leading(function, operands)]
        begin = _mark(timer, "begin", *([_mark(timer, "flush", size=flush_bytes)] if flush_bytes else []))
        behind, begin = jax.lax.optimization_barrier(([leaves[i] for i in held], begin))
        for i, leaf in zip(held, behind, strict=True):
            leaves[i] = leaf
        results = function(*jax.tree.unflatten(tree, leaves))
        arrays = [a for a in jax.tree.leaves(results) if not jnp.issubdtype(a.dtype, jax.dtypes.extended)]
        # Without a side effect in JAX's sense, of which it would keep account in every call: a result keeps the marks.
        return results, _mark(timer, "end", begin, *arrays)

    return run


def _mark(timer: int, which: str, *after: Any, size: int = 1) -> Any:
    call = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct((size,), jnp.uint8))
    return call(*after, timer=np.int64(timer), which=which)


def leading(function: Callable[..., Any], operands: Sequence[Any]) -> int:
    """The place of the array among ``operands`` that most operations of ``function`` depend on, the first of equals."""
    graph = trace_function(function, *jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), operands))
    on: dict[Value, int] = {value: 1 << i for i, value in enumerate(graph.inputs)}
    counts: Counter[int] = Counter()
    for node in graph.nodes:
        inputs = 0
        for value in node.inputs:
            inputs |= on.get(value, 0)
        on.update((value, inputs) for value in node.outputs)
        counts[inputs] += 1
    return max(range(len(graph.inputs)), key=lambda i: sum(n for inputs, n in counts.items() if inputs >> i & 1))


def misplaced(program: str) -> str | None:
    """An instruction that runs outside of the marks, in the text of a program compiled for a GPU; None if none does.

    Before the begin those count that read an operand, after the end all but copies of results.
    """
    given: set[str] = set()
    begun = ended = False
    for line in program[program.find("ENTRY ") :].splitlines():
        if (found := _INSTRUCTION.match(line)) is None:
            continue
        name, kind, rest = found.groups()
        reads_given = not given.isdisjoint(re.findall(r"%([\w.-]+)", rest))
        if f'"{TARGET}"' in rest:
            begun, ended = begun or '"begin"' in rest, ended or '"end"' in rest
        elif kind in _FREE:
            if kind == "parameter" or (reads_given and not begun):
                given.add(name)
        elif (reads_given and not begun) or (ended and not kind.startswith("copy")):
            return name
    return None if begun and ended else "its marks"
