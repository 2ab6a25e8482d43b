"""ResNet-50 and ViT as users of five frameworks write them, each served and trained by `collage_jax`.

Every module has `resnet(size, seed)` and `vit(size, seed)`, which build a network with random weights, and
`predictor(network, jit)` and `trainer(network, jit)`, which give functions of a batch. `OWN` is the framework's own
way to compile, `PLACED` what stands in its place.
"""

from importlib import import_module
from types import ModuleType

#: Module by the name on the command line, and the package that it needs.
FRAMEWORKS = {
    "flax-nnx": ("flax_nnx", "flax"),
    "flax-linen": ("flax_linen", "flax"),
    "equinox": ("equinox_modules", "equinox"),
    "haiku": ("haiku_functions", "haiku"),
    "keras": ("keras_models", "keras"),
}


def load(name: str) -> ModuleType:
    """The module of the framework called `name`."""
    return import_module(f".{FRAMEWORKS[name][0]}", __name__)
