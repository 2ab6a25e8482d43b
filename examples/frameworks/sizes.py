"""How large the networks are: as published, and small ones for tests."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ResNetSize:
    """Bottleneck blocks in each stage; `width` channels after the stem, four times as many after the first stage."""

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    image: int = 224
    classes: int = 1000

    def stages(self) -> list[tuple[int, int, int]]:
        """(blocks, channels inside of a block, stride of the first block) of each stage."""
        return [(count, self.width * 2**i, 1 if i == 0 else 2) for i, count in enumerate(self.blocks)]


@dataclass(frozen=True)
class ViTSize:
    """A vision transformer; hidden layers are four times as wide as `width`."""

    layers: int = 12
    width: int = 384
    heads: int = 6
    patch: int = 16
    image: int = 224
    classes: int = 1000

    @property
    def tokens(self) -> int:
        """Patches, and the class token."""
        return (self.image // self.patch) ** 2 + 1


RESNET50, RESNET_TINY = ResNetSize(), ResNetSize((1, 2), 16, 32, 10)
VIT_S16, VIT_TI16 = ViTSize(), ViTSize(width=192, heads=3)
VIT_TINY = ViTSize(layers=2, width=32, heads=2, patch=8, image=32, classes=10)
