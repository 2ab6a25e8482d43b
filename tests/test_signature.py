"""Roles of arguments, and the keys of calls."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fakes import array_of
from hypothesis import given
from hypothesis import strategies as st

from collage_jax.calls.signature import key_of, roles_of


def roles(fun, frozen=(), static_nums=None, static_names=None, donate_nums=None, donate_names=None):
    return roles_of(fun, frozen, static_nums, static_names, donate_nums, donate_names)


def three(a, b, c=0, *, d=0):
    pass


def many(*args, **kwargs):
    pass


def test_static_and_donated_names_and_numbers_complete_each_other():
    assert roles(three, static_names="b").static_nums == (1,)
    assert roles(three, static_nums=(0, 2)).static_names == {"a", "c"}
    assert roles(three, donate_names=["a"]).donated_nums == (0,)
    assert roles(three, donate_nums=1).donated_names == {"b"}


def test_frozen_numbers_are_counted_from_the_start_once_and_in_order():
    assert roles(three, (-1, 0, 2)).frozen == (0, 2)


def test_a_call_is_parted_by_role():
    of = roles(three, (0,), static_names=("b", "d"))
    args, kwargs = ("A", "B", "C"), {"d": "D", "e": "E"}
    assert of.dynamic(args, kwargs) == (("A", "C"), {"e": "E"})
    assert of.static(args, kwargs) == (((1, str, "B"),), (("d", str, "D"),))
    assert of.with_static(args, ("x", "y")) == ("x", "B", "y")
    assert of.open(args) == (None, "B", "C")


def test_frozen_leaves_are_numbered_among_the_traced_ones():
    of = roles(three, (1, 2), static_nums=0)
    assert of.frozen_leaves(("static", {"a": 1, "b": (2, None)}, [3])) == (0, 1, 2)
    assert roles(three, (1,)).frozen_leaves(([1, 2], 3, 4)) == (2,)
    assert roles(many, (0,), static_nums=-1).frozen_leaves((5, 6, "static")) == (0,)


@pytest.mark.parametrize(
    ("number", "count", "place"), [(-1, 3, 2), (-3, 3, 0), (-4, 3, None), (5, 3, None), (0, 0, None)]
)
def test_static_numbers_outside_the_call_name_nothing(number, count, place):
    of = roles(many, static_nums=number)
    assert of.dynamic(range(count), {})[0] == tuple(i for i in range(count) if i != place)


def test_named_arguments_are_put_in_their_places():
    of = roles(three, (1,))
    assert of.positional((1, 2, 3), {}) == ((1, 2, 3), {})
    assert of.positional((1,), {"b": 2, "d": 4}) == ((1, 2), {"d": 4})
    assert of.positional((), {"b": 2, "a": 1, "c": 3}) == ((1, 2), {"c": 3})


def test_numbers_move_up_behind_one_more_argument():
    of = roles(many, static_nums=(-1, 1), donate_nums=(0,))
    assert of.shifted() == {
        "static_argnums": (-1, 2),
        "static_argnames": (),
        "donate_argnums": (1,),
        "donate_argnames": (),
    }


LEAVES = [
    1, 1.0, True, 1j, np.float32(1), np.int64(1), np.ones(3), np.ones(3, np.float32), np.ones(3, np.int64), jnp.ones(3),
    jnp.ones((3, 1)), jnp.float32(1), jax.ShapeDtypeStruct((3,), "float32"), jnp.bfloat16(1), np.bool_(True),
    jax.random.key(0),
]  # fmt: skip


@pytest.mark.parametrize("x64", [False, True])
def test_a_key_is_the_same_outside_and_inside_of_a_trace(x64):
    """A call finds its program while ``jax.jit`` traces it."""
    arrays = [leaf for leaf in LEAVES if not isinstance(leaf, jax.ShapeDtypeStruct)]
    keys = []
    with jax.enable_x64(x64):
        jax.jit(lambda leaves, **named: keys.append(key_of((leaves, named), ())))(arrays, name=(None, 2))
        assert keys == [key_of((arrays, {"name": (None, 2)}), ())]
    assert hash(keys[0]) == hash(keys[0])


def test_keys_tell_shapes_dtypes_weak_types_trees_and_static_values_apart():
    def key(*leaves, static=()):
        return key_of(leaves, static)

    assert (
        key(jnp.ones(3)) == key(np.ones(3, np.float32)) == key(np.ones(3)) == key(jax.ShapeDtypeStruct((3,), "float32"))
    )
    different = [
        key(jnp.ones(3)), key(jnp.ones(4)), key(jnp.ones(3, jnp.int32)), key(jnp.ones((3, 1))), key(1.0),
        key(np.float32(1)), key(1), key(True), key((1.0,)), key([1.0]), key(1.0, static=1), key(1.0, static=2),
        key(None), key(),
    ]  # fmt: skip
    assert len(set(different)) == len(different)


def test_keys_tell_settings_of_jax_apart():
    plain = key_of(1.0, ())
    with jax.default_matmul_precision("highest"):
        assert key_of(1.0, ()) != plain
    with jax.enable_x64(True):
        assert key_of(1.0, ()) != plain
    assert key_of(1.0, ()) == plain


@given(
    st.lists(
        st.tuples(
            st.sampled_from([(), (2,), (0, 3), (1, 2)]),
            st.sampled_from(["float32", "int32", "bfloat16"]),
            st.sampled_from([jnp.asarray, np.asarray, lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype)]),
        )
    )
)
def test_keys_depend_on_shapes_and_dtypes_alone(parts):
    arrays = [array_of(shape, dtype, 0) for shape, dtype, _ in parts]
    forms = [form(array) for array, (_, _, form) in zip(arrays, parts, strict=True)]
    assert key_of(forms, ()) == key_of(arrays, ())
    assert (key_of(arrays, ()) == key_of(arrays[:-1], ())) == (not arrays)
