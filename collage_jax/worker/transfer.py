"""Programs, arrays and backends as bytes for another process on this machine.

Only this library's own processes read these bytes: like every pickle they could run code.
"""

from __future__ import annotations

import importlib
import io
import pickle
import sys
from typing import Any

import cloudpickle
import jax
import numpy as np

from .. import _compat
from ..graph.trace import RULED_CALLS


class NotPortable(Exception):
    """Something cannot be sent to another process; the message says what."""


def dumps(thing: Any) -> bytes:
    """``thing`` as bytes for ``loads``; raises ``NotPortable``."""
    file = io.BytesIO()
    try:
        _Pickler(file, protocol=5).dump(thing)
    except Exception as error:
        raise NotPortable(f"{type(error).__name__}: {error}") from error
    return file.getvalue()


def loads(data: bytes) -> Any:
    """What ``dumps`` was given."""
    return pickle.loads(data)


class _Pickler(cloudpickle.Pickler):
    """What JAX's objects hold besides the program (tracebacks, differentiation rules) is left behind."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, _compat.Primitive):
            return _primitive, _where(obj)
        if isinstance(obj, jax.Array):
            return _reduced_array(obj)
        if isinstance(obj, _compat.JaxprEqn) and obj.primitive.name in RULED_CALLS:
            # What is sent has been differentiated, and the rules cannot be pickled.
            called = obj.params[RULED_CALLS[obj.primitive.name]]
            return _compat.plain_call, (obj.invars, obj.outvars, called, obj.effects, obj.source_info, obj.ctx)
        reduced = _compat.reduced(obj)
        return super().reducer_override(obj) if reduced is None else reduced


def _reduced_array(array: jax.Array) -> Any:
    if jax.numpy.issubdtype(array.dtype, jax.dtypes.prng_key):
        return _keys, (np.asarray(jax.random.key_data(array)), str(jax.random.key_impl(array)))
    return _array, (np.asarray(array), array.dtype.name, jax.typeof(array).weak_type)


def _array(values: np.ndarray, dtype: str, weak: bool) -> Any:
    array = jax.numpy.asarray(values)
    return _compat.with_aval(array, _compat.shaped(array.shape, dtype, weak)) if weak else array


def _keys(data: np.ndarray, implementation: str) -> Any:
    return jax.random.wrap_key_data(jax.numpy.asarray(data), impl=implementation)


def _where(primitive: Any) -> tuple[str, str]:
    """The module and name under which ``primitive`` can be found in any process."""
    for name, module in list(sys.modules.items()):
        if name != "__main__":
            for attribute, held in list(getattr(module, "__dict__", {}).items()):
                if held is primitive:
                    return name, attribute
    raise NotPortable(f"the primitive {primitive.name} belongs to no module")


def _primitive(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)
