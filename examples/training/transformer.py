"""A small transformer (Equinox) that continues text: the source of Python's own library, character by character."""

import argparse
import inspect
from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from .task import Task

LENGTH, BATCH, WIDTH, HEADS, LAYERS = 64, 16, 128, 4, 3
OPTIMIZER = optax.adam(1e-3)
TEXT = np.frombuffer(inspect.getsource(argparse).encode("ascii", "replace"), np.uint8).astype(np.int32)
MASK = np.tril(np.ones((LENGTH, LENGTH), bool))


class Layer(eqx.Module):
    """Attention and two products, each after a norm and beside a shortcut."""

    attention: eqx.nn.MultiheadAttention
    attention_norm: eqx.nn.LayerNorm
    wide: eqx.nn.Linear
    narrow: eqx.nn.Linear
    norm: eqx.nn.LayerNorm

    def __init__(self, key: jax.Array) -> None:
        attention, wide, narrow = jax.random.split(key, 3)
        self.attention = eqx.nn.MultiheadAttention(HEADS, WIDTH, key=attention)
        self.attention_norm, self.norm = eqx.nn.LayerNorm(WIDTH), eqx.nn.LayerNorm(WIDTH)
        self.wide, self.narrow = eqx.nn.Linear(WIDTH, 4 * WIDTH, key=wide), eqx.nn.Linear(4 * WIDTH, WIDTH, key=narrow)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = jax.vmap(self.attention_norm)(x)
        x = x + self.attention(y, y, y, mask=jnp.asarray(MASK))
        return x + jax.vmap(lambda row: self.narrow(jax.nn.gelu(self.wide(self.norm(row)))))(x)


class Transformer(eqx.Module):
    """`(length,)` characters to `(length, 128)` scores of the next ones."""

    characters: eqx.nn.Embedding
    places: jax.Array
    layers: list[Layer]
    head: eqx.nn.Linear

    def __init__(self, key: jax.Array) -> None:
        characters, places, head, *layers = jax.random.split(key, 3 + LAYERS)
        self.characters = eqx.nn.Embedding(128, WIDTH, key=characters)
        self.places = 0.02 * jax.random.normal(places, (LENGTH, WIDTH))
        self.layers = [Layer(layer) for layer in layers]
        self.head = eqx.nn.Linear(WIDTH, 128, key=head)

    def __call__(self, text: jax.Array) -> jax.Array:
        x = jax.vmap(self.characters)(text) + self.places
        for layer in self.layers:
            x = layer(x)
        return jax.vmap(self.head)(x)


#: What of a model is no array, which no step changes.
STATIC = eqx.partition(Transformer(jax.random.key(0)), eqx.is_inexact_array)[1]


def init(seed: int):
    """Weights, and the optimizer's own state."""
    weights = eqx.partition(Transformer(jax.random.key(seed)), eqx.is_inexact_array)[0]
    return weights, OPTIMIZER.init(weights)


def step(state, text):
    """One step of Adam on the cross-entropy of each character, given those before it."""
    weights, optimizer_state = state

    def loss_of(weights):
        scores = jax.vmap(eqx.combine(weights, STATIC))(text[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(scores, text[:, 1:]).mean()

    loss, gradients = jax.value_and_grad(loss_of)(weights)
    updates, optimizer_state = OPTIMIZER.update(gradients, optimizer_state, weights)
    return (optax.apply_updates(weights, updates), optimizer_state), loss


def batches(seed: int) -> Iterator[tuple[np.ndarray]]:
    """Pieces of the text, one character longer than the model reads."""
    random = np.random.default_rng(seed)
    while True:
        starts = random.integers(0, len(TEXT) - LENGTH - 1, BATCH)
        yield (np.stack([TEXT[start : start + LENGTH + 1] for start in starts]),)


TRANSFORMER = Task("transformer", "transformer on text, Equinox", init, step, batches)
