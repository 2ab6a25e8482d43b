"""The Python packages that build and run engines: found, imported, and asked what they can build for."""

from __future__ import annotations

import importlib
import importlib.util
import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import ModuleType
from typing import Any

from ... import target
from ..base import Unsupported

#: Packages by module, each with its title and the wheel to install. The first that can build for a target does.
PACKAGES = {"tensorrt": ("TensorRT", "tensorrt"), "tensorrt_rtx": ("TensorRT-RTX", "tensorrt-rtx-cu13")}

#: The first release in which every tensor has the type that the network gives it, and nothing else decides it.
_OLDEST = 10

_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class Library:
    """An imported package. What it logs as an error is kept for our own messages and printed nowhere."""

    module: Any
    title: str
    logger: Any
    errors: deque[str]
    building: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        return self.module.__name__

    @property
    def version(self) -> str:
        return str(self.module.__version__)

    @property
    def builds_ahead(self) -> bool:
        """True if engines can be built for GPUs that are not here, which takes well under a second."""
        return hasattr(self.module, "ComputeCapability")

    def capability(self, sm: int) -> Any:
        """What the package calls the compute capability ``sm``; None if it builds nothing for it."""
        return getattr(self.module.ComputeCapability, f"SM{sm}", None)

    def last_error(self) -> str:
        """The last error logged, in one line."""
        return " ".join(self.errors[-1].split()) if self.errors else "it gives no reason"

    @cached_property
    def builder(self) -> Any:
        """What makes and builds networks; ``RuntimeError`` where there can be none, as TensorRT's without a GPU."""
        try:
            return self.module.Builder(self.logger)
        except Exception as error:  # whatever the binding raises for a null pointer
            raise RuntimeError(f"{self.title} has no builder here ({self.last_error()}): {error}") from error

    def why_not(self, aim: target.Target) -> str | None:
        """Why no engines can be built for ``aim``, or None."""
        if aim.gpu is None:
            return f"{self.title} runs on NVIDIA's GPUs, and this is for a {aim.platform}"
        if self.builds_ahead:
            if self.capability(aim.gpu.sm) is not None:
                return None
            names = (re.fullmatch(r"SM(\d+)", name) for name in dir(self.module.ComputeCapability))
            offered = ", ".join(f"sm_{sm}" for sm in sorted(int(found[1]) for found in names if found))
            return f"{self.title} {self.version} builds engines for {offered}, and this is for {aim.gpu.target}"
        if not aim.is_here:
            return f"{self.title} builds engines on the GPU that runs them, and {aim.gpu.target} is not here"
        return None


def for_target(aim: target.Target | None = None) -> Library | Unsupported:
    """The package that builds engines for ``aim``, the current target if None, or why there is none."""
    aim = aim or target.current()
    reasons = []
    for name in PACKAGES:
        found = named(name)
        if isinstance(found, Library):
            if (reason := found.why_not(aim)) is None:
                return found
            reasons.append(reason)
        elif found is not None:
            reasons.append(found.reason)
    return Unsupported("; ".join(reasons)) if reasons else _to_install()


def missing() -> Unsupported | None:
    """What to install if none of the packages is there."""
    return None if any(_spec(name) for name in PACKAGES) else _to_install()


def _to_install() -> Unsupported:
    wheels = ", or ".join(f"pip install {wheel} for {title}" for title, wheel in reversed(PACKAGES.values()))
    return Unsupported(f"TensorRT is not installed: {wheels}")


def named(name: str) -> Library | Unsupported | None:
    """The package imported as ``name``, or why it cannot be used; None if it is not installed."""
    with _lock:
        return _named(name) if _spec(name) else None


@cache
def _named(name: str) -> Library | Unsupported:
    title = PACKAGES[name][0]
    try:
        module = importlib.import_module(name)
    except Exception as error:  # whatever a broken installation raises
        return Unsupported(f"{title}'s Python package cannot be imported: {type(error).__name__}: {error}")
    return library_of(module, title)


def library_of(module: ModuleType | Any, title: str) -> Library | Unsupported:
    """``module`` as a library, or why its version is none that this backend knows."""
    version = str(getattr(module, "__version__", "of no version"))
    major = version.partition(".")[0]
    if not hasattr(module, "ComputeCapability") and not (major.isdigit() and int(major) >= _OLDEST):
        return Unsupported(f"{title} {_OLDEST} or newer is needed, this is {version}")
    errors: deque[str] = deque(maxlen=8)
    return Library(module, title, _logger(module, errors.append), errors)


def _logger(module: Any, keep: Callable[[str], None]) -> Any:
    class Logger(module.ILogger):
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (module.ILogger.Severity.ERROR, module.ILogger.Severity.INTERNAL_ERROR):
                keep(message)

    return Logger()


def _spec(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # a module that was put in place by hand and has no specification
        return True
