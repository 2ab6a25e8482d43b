"""Gradients of the networks, placed on everything that runs a part of them, against those of ``jax.jit``.

The backward pass is compared by itself, from the same activations: where rounding turns a ReLU's operand from one side
of zero to the other, a gradient jumps, by 1e-4 of the largest and more for one of ResNet50's millions, whoever computes
it. So much does ``jax.jit``'s own change if its weights do in their last places.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from placing import placed

from collage_jax.backends.onednn import library

sys.path.append(str(Path(__file__).parents[1] / "examples"))

from networks import NETWORKS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not library.load(), reason="there is no oneDNN here"),
]


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_all_weights_are_those_of_jit(name):
    network = NETWORKS[name]
    weights, x = network.init(), network.input(1)
    result, pull = jax.jit(lambda w: jax.vjp(lambda w: network.apply(w, x), w))(weights)
    held, tree = jax.tree.flatten(pull)

    def backward(*operands):
        return jax.tree.leaves(jax.tree.unflatten(tree, operands[:-1])(operands[-1]))

    wanted = jax.jit(backward)(*held, result)
    got, convs, left = placed(backward, *held, result)
    assert convs.total() >= left
    # Some gradients are zero but for rounding (of a bias of keys, which a softmax does not see): beside the largest
    # of all, these are small.
    largest = max(float(jnp.abs(right).max()) for right in wanted)
    errors = [
        float(jnp.abs(g - right).max()) / max(float(jnp.abs(right).max()), 1e-2 * largest)
        for g, right in zip(got, wanted, strict=True)
    ]
    assert max(errors) <= 1e-5, [(i, f"{e:.1e}", wanted[i].shape) for i, e in enumerate(errors) if e > 1e-5]
