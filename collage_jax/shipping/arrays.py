"""Arrays as members of a file: NumPy's own format, and beside it what that cannot say (bfloat16, PRNG keys)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NoReturn, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ..report.fields import Field

_PLAIN = "biufc"


@dataclass(frozen=True)
class ArraySpec:
    """An array in the member ``file``. Of PRNG keys the member has their words, and ``keys`` names their kind."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    keys: str | None = None


class Fail(Protocol):
    """Raises for what breaks ``rule``."""

    def __call__(self, rule: str) -> NoReturn: ...


def encode(array: Any, file: str) -> tuple[ArraySpec, bytes]:
    """``array`` as NumPy's format has it, to be the member ``file``, and what to read it by."""
    keys = None
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        keys, array = str(jax.random.key_impl(array)), jax.random.key_data(array)
    held = np.asarray(array)
    spec = ArraySpec(file, held.dtype.name, held.shape, keys)
    written = BytesIO()
    # NumPy would write what it does not know itself, such as bfloat16, as bytes without a meaning.
    np.lib.format.write_array(written, np.ascontiguousarray(_as_written(held)), (1, 0), allow_pickle=False)
    return spec, written.getvalue()


def decode(spec: ArraySpec, data: bytes, fail: Fail) -> jax.Array:
    """The array in ``data``."""
    dtype = _dtype(spec.dtype)
    if dtype is None:
        fail(f"the name of a dtype of numbers, got {spec.dtype!r}")
    file = BytesIO(data)
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("another version")
        shape, in_columns, written = np.lib.format.read_array_header_1_0(file)
    except (ValueError, SyntaxError, TypeError, EOFError) as error:
        fail(f"an array in NumPy's format 1.0 ({error})")
    if (shape, written, in_columns) != (spec.shape, _as_written(np.empty(0, dtype)).dtype, False):
        fail(f"an array {spec.dtype}{list(spec.shape)} in C order, got {written}{list(shape)}")
    if len(data) - file.tell() != math.prod(shape) * dtype.itemsize:
        fail(f"an array of {math.prod(shape) * dtype.itemsize} bytes, got {len(data) - file.tell()}")
    array = jnp.asarray(np.frombuffer(data, dtype, offset=file.tell()).reshape(shape))
    if array.dtype != dtype:
        fail(f"an array that JAX takes as it is, got {dtype}; set jax_enable_x64 as it was where the file was made")
    return array if spec.keys is None else jax.random.wrap_key_data(array, impl=spec.keys)


def spec_from(field: Field) -> ArraySpec:
    """What to read an array by, from a file."""
    return ArraySpec(
        field.member("file").text(),
        field.member("dtype").text(),
        field.member("shape").items(Field.whole),
        field.member("keys").optional(Field.text),
    )


def _as_written(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.kind in _PLAIN else array.view(f"u{array.dtype.itemsize}")


def _dtype(name: str) -> np.dtype | None:
    """The dtype of numbers with that name; None for anything else that NumPy would make a dtype of."""
    try:
        dtype = jnp.dtype(name)
    except TypeError:
        return None
    is_number = dtype == np.bool_ or jnp.issubdtype(dtype, jnp.number)
    return dtype if is_number and dtype.name == name and not dtype.hasobject else None
