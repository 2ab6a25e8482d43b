"""A Python function as one operation of a program, through one native call for all of them."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import numpy as np

from ..ffi import native
from ..graph.ir import is_array_dtype
from .digest import Digest, place_of

TARGET = "collage_callback_v1"

_lock = threading.Lock()
_module: ModuleType | None = None

#: Of each registered name: what the function holds that the name does not tell.
_untold: dict[str, tuple[Any, ...]] = {}


def callback_call(
    function: Callable[..., Any], result_shapes: Any, *, name: str | None = None, vmap_method: str | None = None
) -> Callable[..., Any]:
    """A JAX-traceable callable that runs ``function(*operands, *results)`` wherever the program has come to it.

    ``function`` gets NumPy arrays on XLA's own memory, in C order: the operands, which it may only read, and the
    results, into which it writes. It returns None (or those same results), keeps no array or view of one, and does
    nothing but compute. It must not call JAX, which may wait for the thread that waits for it.

    ``result_shapes``: a ``jax.ShapeDtypeStruct``, or a sequence of them for a tuple of results. ``name`` stands for
    the function's module, name and all it holds whose contents cannot be compared. ``vmap_method`` is that of
    ``jax.pure_callback``; without it ``jax.vmap`` fails.

    What ``function`` raises becomes a ``jax.errors.JaxRuntimeError`` with its traceback. Runs on CPUs only; needs an
    extension of this package, ``ImportError`` if that is missing.
    """
    if not callable(function):
        raise TypeError(f"a function of NumPy arrays is needed, got {function!r}")
    one = not isinstance(result_shapes, (tuple, list))
    results = [_result(r) for r in ((result_shapes,) if one else result_shapes)]
    if not results:
        raise ValueError("a function without results would never be called: give the shape of one at least")
    registered = _named(function, name)

    def call(*operands: Any) -> Any:
        for i, operand in enumerate(operands):
            _check(f"operand {i}", jax.typeof(operand).dtype)
        for i, result in enumerate(results):
            _check(f"result {i}", result.dtype)
        made = jax.ffi.ffi_call(TARGET, tuple(results), vmap_method=vmap_method)(*operands, function=registered)
        return made[0] if one else made

    return call


def refused_dtype(dtype: Any) -> str | None:
    """Why no function can be called on arrays of ``dtype``, or None."""
    shared = is_array_dtype(dtype) and np.dtype(dtype).name in load_extension().dtypes()
    return None if shared else f"XLA and NumPy do not hold {dtype} in the same way"


def _finish() -> None:
    while _module is not None and _module.close() > 0:
        time.sleep(0.005)


# Python ends threads that want to go on when it has come to its end, which those of XLA do not survive. Registered on
# import, so that what a user has registered after it can still call.
atexit.register(_finish)


def _result(given: Any) -> jax.ShapeDtypeStruct:
    if not hasattr(given, "shape") or not hasattr(given, "dtype"):
        raise TypeError(f"result_shapes must hold shapes and dtypes, got {given!r}; write jax.ShapeDtypeStruct(...)")
    return jax.ShapeDtypeStruct(given.shape, given.dtype)


def _check(what: str, dtype: Any) -> None:
    if (refusal := refused_dtype(dtype)) is not None:
        raise TypeError(f"{what} of a Python function cannot be of this dtype: {refusal}; convert it before")
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise TypeError(f"{what} of a Python function is of dtype {dtype}; set jax_enable_x64, or use 32 bits")


def load_extension() -> ModuleType:
    """What calls Python functions from programs; ``ImportError`` if it is missing. Creates JAX's CPU client."""
    global _module
    with _lock:
        if _module is None:
            try:
                module = native.extension("_callback")
            except ImportError as error:
                raise ImportError(f"the extension for Python functions is missing: {error}{native.hint()}") from error
            native.register(module)
            _module = module
        return _module


def _named(function: Callable[..., Any], name: str | None) -> str:
    """Make ``function`` known to programs compiled from now on; the name under which they find it."""
    module = load_extension()
    digest = Digest(function)
    full = f"{name or place_of(function)}#{digest.of(function).hex()[:16]}"
    untold = () if name else tuple(digest.untold.values())
    with _lock:
        known = _untold.setdefault(full, untold)
    if list(map(id, known)) != list(map(id, untold)):
        kinds = ", ".join(sorted({type(thing).__name__ for thing in untold}))
        raise ValueError(
            f"two functions called {place_of(function)} cannot be told apart: they hold objects whose contents cannot "
            f"be compared ({kinds}); pass a name of its own for each, name=..."
        )
    module.register_function(full, function)
    return full
