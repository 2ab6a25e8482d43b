"""Builds one extension per native library; a library or a compiler that is missing costs its backend, not the install.

oneDNN: the headers come from ``ONEDNN_ROOT`` if that is set, else from the wheel ``onednn-devel-cpu-gomp``.
The XLA FFI headers come from the jaxlib that the build requirements pin, the oldest one supported: newer runtimes
accept older handlers, not the reverse.
"""

import os
from importlib import metadata
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class Missing(Exception):
    """What an extension needs and the build does not have."""


def onednn_root() -> Path:
    """The folder that holds ``include/oneapi/dnnl`` and ``lib``."""
    if root := os.environ.get("ONEDNN_ROOT"):
        return Path(root)
    for wheel in ("onednn-devel-cpu-gomp",):
        try:
            files = metadata.files(wheel) or []
        except metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.match("include/dnnl.hpp"):
                return Path(file.locate()).resolve().parent.parent
    raise Missing("no oneDNN headers: set ONEDNN_ROOT or install onednn-devel-cpu-gomp")


def native_extension(name: str, folder: str, include: Path, libraries: Path, link: str) -> Extension:
    """The extension ``name`` from ``csrc/<folder>``; ``link`` is found again at run time by its soname alone."""
    import jax.ffi
    import pybind11

    return Extension(
        name,
        sources=sorted(map(str, Path("csrc", folder).glob("*.cc"))),
        depends=sorted(map(str, [*Path("csrc").glob("*.h"), *Path("csrc", folder).glob("*.h")])),
        include_dirs=[pybind11.get_include(), jax.ffi.include_dir(), str(include)],
        extra_compile_args=["-std=c++17", "-O2", "-fvisibility=hidden"],
        extra_link_args=[f"-L{libraries}", f"-l:{link}", "-Wl,--no-undefined-version"],
        language="c++",
        optional=True,
    )


def onednn() -> Extension:
    root = onednn_root()
    return native_extension("collage_jax._onednn", "onednn", root / "include", root / "lib", "libdnnl.so.3")


class BuildOrSkip(build_ext):
    """Says in one line which extension is skipped and why, where setuptools would stop or bury it."""

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as error:
            print(f"collage_jax: skipping {ext.name}: {error}")


def extensions() -> list[Extension]:
    found = []
    for make in (onednn,):
        try:
            found.append(make())
        except (Missing, ImportError) as reason:
            print(f"collage_jax: skipping the extension for {make.__name__}: {reason}")
    return found


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildOrSkip})
