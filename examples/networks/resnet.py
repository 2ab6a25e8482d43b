"""ResNet50, ResNeXt50-32x4d and 3D-ResNet50: sixteen bottleneck blocks, no stem, no classifier, no bias."""

from functools import partial

import jax

from .layers import conv
from .network import Network, conv_weight

# (blocks, planes, stride of the first block); a block puts out 4 * planes channels.
STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))


def _blocks():
    """(input channels, planes, stride, whether the shortcut is a projection) of each block, in order."""
    channels = 64
    for blocks, planes, stride in STAGES:
        for i in range(blocks):
            yield channels, planes, stride if i == 0 else 1, i == 0
            channels = 4 * planes


def _weights(spatial, expansion=1, groups=1):
    """`expansion`: width of the middle convolution over planes."""
    point, cube = (1,) * spatial, (3,) * spatial
    for channels, planes, _, projection in _blocks():
        width = planes * expansion
        yield conv_weight(*point, channels, width)
        yield conv_weight(*cube, width // groups, width)
        yield conv_weight(*point, width, 4 * planes)
        if projection:
            yield conv_weight(*point, channels, 4 * planes)


def bottleneck(params, x, stride=1, groups=1):
    """`params`: three convolutions and, if there is a fourth, the projection of the shortcut."""
    w1, w2, w3, *projection = params
    identity = conv(x, projection[0], stride) if projection else x
    y = jax.nn.relu(conv(x, w1))
    y = jax.nn.relu(conv(y, w2, stride, padding=1, groups=groups))
    return jax.nn.relu(conv(y, w3) + identity)


def apply(params, x, groups=1):
    """`x`: `(batch, *spatial, 64)`; gives `(batch, *spatial / 8, 2048)`, each division by 2 rounded up."""
    remaining = iter(params)
    for _, _, stride, projection in _blocks():
        tensors = [next(remaining) for _ in range(4 if projection else 3)]
        x = bottleneck(tensors, x, stride, groups)
    return x


RESNET50 = Network("resnet50", "ResNet50", apply, tuple(_weights(2)), (56, 56, 64), (7, 7, 2048), 7.938)
RESNEXT50 = Network(
    "resnext50",
    "ResNeXt50",
    partial(apply, groups=32),
    tuple(_weights(2, expansion=2, groups=32)),
    (56, 56, 64),
    (7, 7, 2048),
    8.221,
)
RESNET3D50 = Network(
    "resnet3d50",
    "3D-ResNet50",
    apply,
    tuple(_weights(3)),
    (3, 56, 56, 64),
    (1, 7, 7, 2048),
    25.099,
)
