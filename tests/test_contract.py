"""Every backend of this package keeps the contract, strictly: ``supports`` means what it says for any region.

One class of tests for each backend is made from what the package holds, so a new one is tested by being there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import collage_jax
from collage_jax.backends import discovery
from collage_jax.backends.base import Backend
from collage_jax.patterns import any_, op
from collage_jax.testing import BackendContract, Case, ContractViolation, backend_contract, case

pytestmark = pytest.mark.slow


def array(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def conv(x: Any, w: Any, groups: int = 1) -> Any:
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=groups)


def dense(x: Any, w: Any, bias: Any) -> Any:
    return jax.nn.relu(x @ w + bias)


def masked(q: Any, k: Any, v: Any, bias: Any = None) -> Any:
    scores = jnp.einsum("bhqd,bhkd->bhqk", q, k) * 0.25
    scores = scores if bias is None else scores + bias
    return jnp.einsum("bhqk,bhkd->bhqd", jax.nn.softmax(scores), v)


def attention(q: Any, k: Any, v: Any) -> Any:
    heads = (t.reshape(2, 9, 3, 16).transpose(0, 2, 1, 3) for t in (q, k, v))
    return masked(*heads).transpose(0, 2, 1, 3).reshape(2, 9, 48)


def normalised(x: Any, scale: Any, shift: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5) * scale + shift


def largest_gradient(x: Any, g: Any) -> Any:
    sizes, padding = (1, 3, 3, 1), ((0, 0), (1, 1), (1, 1), (0, 0))
    return jax.vjp(lambda x: lax.reduce_window(x, -jnp.inf, lax.max, sizes, (1, 2, 2, 1), padding), x)[1](g)[0]


def weights_gradient(x: Any, g: Any) -> Any:
    return jax.vjp(lambda w: conv(x, w, 16), jnp.zeros((3, 3, 4, 64), x.dtype))[1](g)[0]


def rooted(x: Any, y: Any, out: Any) -> None:
    np.hypot(x, y, out=out)


#: Functions in which a backend must find something, by its name; the standard programs are tried on all.
CASES: dict[str, tuple[Case, ...]] = {
    "onednn": (
        case(dense, array(9, 40), array(40, 24), array(24), name="dense"),
        case(lambda x, w: jax.nn.relu(conv(x, w)), array(1, 9, 9, 16), array(3, 3, 16, 24), name="convolution"),
    ),
    "sgemm": (case(dense, array(33, 70), array(70, 45), array(45), name="dense"),),
    "grouped": (
        case(lambda x, w: jax.nn.relu(conv(x, w, 8)), array(1, 9, 9, 32), array(3, 3, 4, 32), name="four in a group"),
        case(lambda x, w: conv(x, w, 16), array(2, 7, 9, 16), array(3, 3, 1, 16), name="depthwise"),
    ),
    "winograd": (case(lambda x, w: jax.nn.relu(conv(x, w)), array(1, 9, 11, 32), array(3, 3, 32, 16), name="3x3"),),
    "narrow_conv": (
        case(lambda x, w: jnp.clip(conv(x, w), -1.0, 2.0), array(2, 9, 11, 24), array(3, 3, 24, 3), name="to an image"),
    ),
    "fused_attention": (
        case(attention, *[array(2, 9, 48)] * 3, name="heads split and joined"),
        case(masked, *[array(2, 3, 9, 8)] * 3, array(9, 9), name="with a mask"),
    ),
    "rowwise": (
        case(jax.nn.softmax, array(5, 40), name="softmax"),
        case(normalised, array(3, 9, 48), array(48), array(48), name="layer norm"),
    ),
    # Proposes nothing: it is asked for what is left between kernels (`tests/test_bridges.py`).
    "fused_elementwise": (),
    "pool_gradient": (case(largest_gradient, array(2, 9, 9, 20), array(2, 5, 5, 20), name="of the largest"),),
    "conv_as_dots": (case(weights_gradient, array(3, 16, 16, 64), array(3, 16, 16, 64), name="gradient in groups"),),
    "openvino": (
        case(dense, array(9, 40), array(40, 24), array(24), name="dense"),
        case(lambda x, w: jax.nn.relu(conv(x, w, 4)), array(2, 7, 9, 16), array(3, 3, 4, 24), name="convolution"),
    ),
    "callback": (case(lambda x, y: jnp.sqrt(x * x + y * y) + 1.0, array(7, 9), array(7, 9), name="rooted"),),
}


@pytest.fixture(scope="module", autouse=True)
def python_kernels() -> Iterator[None]:
    """Something for the backend of Python functions to run."""
    x, y = any_("x"), any_("y")
    squares = op("add")(op("mul")(x, x), op("mul")(y, y))
    collage_jax.callback_kernel(op("sqrt")(squares))(rooted)
    yield
    collage_jax.unregister_callback_kernel("rooted")


#: Of a backend and a check, the one thing that is broken: part of the rule, of what was got, and of the operation.
#: oneDNN multiplies no padding: NaN and infinities in weights stay away from the edges (docs/user-guide.md).
#: OpenVINO's ReLU makes 0 of NaN, and its convolutions multiply no padding; no operand without either is affected.
#: As products, the zeros between the elements of a dilated operand are multiplied, which XLA does not do; and groups of
#: the batch stay apart, where XLA computes them together and carries a NaN from one into another.
BROKEN = {
    ("conv_as_dots", "test_matches_xla"): ("NaN and infinities", "in operand 1", "conv_general_dilated"),
    ("onednn", "test_matches_xla"): ("NaN and infinities", "in operand 1", "conv_general_dilated"),
    ("openvino", "test_matches_xla"): ("", "in operand ", ""),
}


def _class_of(backend: Backend) -> type[BackendContract]:
    made = backend_contract(backend, CASES.get(backend.name, ()), effort="quick", strict=True)
    for (name, test), known in BROKEN.items():
        if name == backend.name:
            _expect_nothing_else(made, test, known)
    return made


def _expect_nothing_else(made: type[BackendContract], test: str, known: tuple[str, str, str]) -> None:
    """Have ``test`` find what is ``known`` to be broken, and nothing else."""
    check = getattr(made, test)

    def finds(self: BackendContract) -> None:
        with pytest.raises(ContractViolation) as caught:
            check(self)
        rule, got, operation = known
        others = [
            str(v)
            for v in caught.value.violations
            if rule not in v.rule or got not in v.got or operation not in v.where
        ]
        assert not others

    setattr(made, test, finds)


CLASSES = {backend.name: _class_of(backend) for backend in discovery.builtin().values()}
globals().update({made.__name__: made for made in CLASSES.values()})


def test_each_backend_has_a_class():
    assert {made.backend.name for made in CLASSES.values()} == set(discovery.builtin())
    assert len({made.__name__ for made in CLASSES.values()}) == len(CLASSES)
    assert set(CASES) <= set(CLASSES)
