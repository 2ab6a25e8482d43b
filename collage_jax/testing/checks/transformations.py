"""JAX's transformations around a function with the backend's kernels give what they give around ``jax.jit``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ...measure.compare import largest_error
from ..case import concrete
from ..findings import Violation, said
from ..placed import Placed, known, placed_programs
from ..subject import Subject

violation = partial(Violation, "transformations")

Function = Callable[..., Any]


def check_transformations(subject: Subject) -> Iterator[Violation]:
    """A call, then ``jit``, a loop, ``vmap`` and ``grad`` around the decorated function."""
    subject.require_usable()
    with known(subject.backend):
        for placed in placed_programs(subject):
            where = f"{placed.program.case.name} with {', '.join(s.label for s in placed.samples)}"
            try:
                left = placed.left_to_xla
            except Exception as error:
                left = said(error)
            if left:
                remedy = "let `supports` and `emit` take in a whole program what they take alone"
                yield violation("a supported region must be placed", left, remedy, where)
                continue
            for name, around in AROUND.items():
                yield from _compared(placed, name, around, where)


def _compared(placed: Placed, name: str, around: Callable[[Function, Any], Any], where: str) -> Iterator[Violation]:
    try:
        wanted = jax.block_until_ready(around(jax.jit(placed.program.case.fun), placed.args))
    except Exception:  # the function is none for this transformation
        return
    rule = f"{name} of a placed function must do what it does of jax.jit's"
    try:
        got = jax.block_until_ready(around(placed.function, placed.args))
    except Exception as error:
        yield violation(rule, said(error), "let what `emit` returns be traced by JAX anywhere", where)
        return
    error = largest_error(jax.tree.leaves(got), jax.tree.leaves(wanted))
    if not error <= placed.allowed(wanted):
        remedy = "correct the kernel: alone it is right on other inputs"
        yield violation(rule, f"results {error:.1e} of the largest apart", remedy, where)


def _loop(fun: Function, args: Any) -> Any:
    return jax.jit(lambda batch: jax.lax.map(lambda each: fun(*each), batch))(_batch(args))


def _vmap(fun: Function, args: Any) -> Any:
    return jax.jit(jax.vmap(lambda each: fun(*each)))(_batch(args))


def _grad(fun: Function, args: Any) -> Any:
    leaves, tree = jax.tree.flatten(args)
    moving = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]

    def loss(*moved: Any) -> Any:
        every = list(leaves)
        for i, leaf in zip(moving, moved, strict=True):
            every[i] = leaf
        results = [r for r in jax.tree.leaves(fun(*jax.tree.unflatten(tree, every))) if _is_real(r)]
        return sum(jnp.sum(jnp.sin(r.astype(jnp.float32))) for r in results)

    return jax.jit(jax.grad(loss, tuple(range(len(moving)))))(*(leaves[i] for i in moving))


def _batch(args: Any) -> Any:
    """``args`` and others like them, stacked."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), args, concrete(args, 1, fresh=True))


def _is_real(array: Any) -> bool:
    return jnp.issubdtype(array.dtype, jnp.floating)


AROUND: Mapping[str, Callable[[Function, Any], Any]] = {
    "a call": lambda fun, args: fun(*args),
    "jax.jit": lambda fun, args: jax.jit(lambda *xs: fun(*xs))(*args),
    "a loop": _loop,
    "jax.vmap": _vmap,
    "jax.grad": _grad,
}
