"""Two things to train, and how: a residual network on images and a transformer on text."""

from .resnet import RESNET
from .task import Task
from .transformer import TRANSFORMER

TASKS: dict[str, Task] = {task.name: task for task in (RESNET, TRANSFORMER)}
