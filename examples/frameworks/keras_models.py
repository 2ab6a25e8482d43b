"""Keras 3 on JAX: one line, `collage_jax.keras.compile(model)`."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras import layers

import collage_jax.keras

from .sizes import ResNetSize, ViTSize


def OWN(model, **options):
    """Keras' own way: `model` as it is."""
    return model


PLACED = collage_jax.keras.compile


def conv_norm(x, features: int, kernel: int, stride: int = 1):
    """A convolution without bias and batch norm."""
    if kernel > 1 and stride > 1:
        x = layers.ZeroPadding2D(kernel // 2)(x)
        x = layers.Conv2D(features, kernel, stride, "valid", use_bias=False)(x)
    else:
        x = layers.Conv2D(features, kernel, stride, "same", use_bias=False)(x)
    return layers.BatchNormalization(momentum=0.9)(x)


def bottleneck(x, width: int, stride: int):
    y = layers.ReLU()(conv_norm(x, width, 1))
    y = layers.ReLU()(conv_norm(y, width, 3, stride))
    y = conv_norm(y, 4 * width, 1)
    if x.shape != y.shape:
        x = conv_norm(x, 4 * width, 1, stride)
    return layers.ReLU()(layers.Add()([x, y]))


def resnet(size: ResNetSize, seed: int = 0) -> keras.Model:
    """`(batch, image, image, 3)` to `(batch, classes)`."""
    keras.utils.set_random_seed(seed)
    images = keras.Input((size.image, size.image, 3))
    x = layers.ReLU()(conv_norm(images, size.width, 7, 2))
    x = layers.MaxPooling2D(3, 2, "same")(x)
    for count, width, stride in size.stages():
        for i in range(count):
            x = bottleneck(x, width, stride if i == 0 else 1)
    scores = layers.Dense(size.classes)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(images, scores)


@keras.saving.register_keras_serializable("collage_jax_examples")
class Places(layers.Layer):
    """Puts a class token before the patches, and adds to each what stands for its place."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="zeros", name="token")
        self.places = self.add_weight(shape=(1, shape[1] + 1, shape[-1]), initializer="random_normal", name="places")

    def call(self, x):
        token = keras.ops.tile(self.token, (keras.ops.shape(x)[0], 1, 1))
        return keras.ops.concatenate([token, x], 1) + self.places


def vit(size: ViTSize, seed: int = 0) -> keras.Model:
    """`(batch, image, image, 3)` to `(batch, classes)`."""
    keras.utils.set_random_seed(seed)
    images = keras.Input((size.image, size.image, 3))
    x = layers.Conv2D(size.width, size.patch, size.patch)(images)
    x = Places()(layers.Reshape((-1, size.width))(x))
    for _ in range(size.layers):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = x + layers.MultiHeadAttention(size.heads, size.width // size.heads)(y, y)
        y = layers.Dense(4 * size.width, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(x))
        x = x + layers.Dense(size.width)(y)
    x = layers.LayerNormalization(epsilon=1e-6)(x)[:, 0]
    return keras.Model(images, layers.Dense(size.classes)(x))


def predictor(model, jit=PLACED, **options):
    """Images to scores, by `model.predict`'s way of running a batch."""
    return jit(model, **options).predict_on_batch


def trainer(model, jit=PLACED, **options):
    """A step on a batch by Keras' own optimizer, which changes `model` in place and gives the loss before it."""
    model.compile(
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    jit(model, **options)
    return lambda images, labels: np.asarray(model.train_on_batch(images, labels))
