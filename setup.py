"""Builds one extension per native library; a library or a compiler that is missing costs its backend, not the install.

oneDNN: headers and library come from ``ONEDNN_ROOT`` if that is set, else from the ``onednn-devel-cpu-gomp`` wheel.
The XLA FFI headers come from the jaxlib that the build requirements pin, the oldest one supported: newer runtimes
accept older handlers, not the reverse.

``COLLAGE_JAX_CXXFLAGS`` come after all other options of the compiler, as a sanitizer needs them;
``COLLAGE_JAX_EXTENSIONS`` names those to build, as in ``"kernels program"``, if not all are wanted.
"""

import os
import platform
import shlex
import site
import sys
import sysconfig
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class Missing(Exception):
    """What an extension needs and the build does not have."""


def native_extension(name: str, folder: str, headers: Path | None = None, library: Path | None = None) -> Extension:
    """The extension ``name`` from all that is in ``csrc/<folder>``.

    It records only the soname of ``library``, if it needs one, and no path: at run time the library has been opened
    before.
    """
    import jax
    import pybind11

    # Their warnings are not ours.
    system = [pybind11.get_include(), jax.ffi.include_dir(), *([str(headers)] if headers else [])]
    link = [f"-L{library.parent}", f"-l:{library.name}"] if library else []
    return Extension(
        name,
        sources=sorted(map(str, Path("csrc", folder).rglob("*.cc"))),
        depends=sorted(map(str, [*Path("csrc").glob("*.h"), *Path("csrc", folder).rglob("*.h")])),
        extra_compile_args=[
            *("-std=c++17", "-O3", "-g0", "-fopenmp", "-fvisibility=hidden"),
            *(f"-isystem{path}" for path in system),
        ],
        extra_link_args=["-fopenmp", *link],
        language="c++",
        optional=True,
    )


def onednn() -> Extension:
    root = os.environ.get("ONEDNN_ROOT") or wheel_root("onednn-devel-cpu-gomp", "include/dnnl.hpp")
    if root is None:
        raise Missing("no oneDNN headers; set ONEDNN_ROOT or install onednn-devel-cpu-gomp")
    libraries = sorted(Path(root).glob("lib*/libdnnl.so.3"))
    if not libraries:
        raise Missing(f"no lib*/libdnnl.so.3 in {root}")
    return native_extension("collage_jax._onednn", "onednn", Path(root, "include"), libraries[0])


def kernels() -> Extension:
    if platform.machine().lower() not in ("x86_64", "amd64"):
        raise Missing(f"there are no kernels for {platform.machine()}")
    return native_extension("collage_jax._kernels", "kernels")


def program() -> Extension:
    return native_extension("collage_jax._program", "program")


def callback() -> Extension:
    return native_extension("collage_jax._callback", "callback")


def openvino() -> Extension:
    # Needs nothing of OpenVINO: the library is opened at run time.
    return native_extension("collage_jax._openvino", "openvino")


def entry() -> Extension:
    # Without OpenMP: this one is loaded at import, and what loads OpenMP first settles how long its threads spin.
    return Extension(
        "collage_jax._entry",
        sources=["csrc/entry/entry.cc"],
        extra_compile_args=["-std=c++17", "-O2", "-g0", "-fvisibility=hidden"],
        language="c++",
        optional=True,
    )


def no_driver() -> Extension:
    # Stands in for the NVIDIA driver's library where there is none, so it must have its name.
    return Extension(
        "collage_jax._no_driver",
        sources=["csrc/no_driver/no_driver.c"],
        extra_compile_args=["-O2", "-g0", "-fvisibility=hidden"],
        extra_link_args=["-Wl,-soname,libcuda.so.1", "-ldl"],
        optional=True,
    )


def cublas() -> Extension:
    # Needs nothing of CUDA: the library is opened at run time.
    return native_extension("collage_jax._cublas", "cublas")


def cuda() -> Extension:
    return native_extension("collage_jax._cuda", "cuda")


def trampoline() -> Extension:
    return native_extension("collage_jax._trampoline", "trampoline")


def cudnn() -> Extension:
    """Needs headers of cuDNN, its frontend and the CUDA runtime, and none of their libraries."""
    wanted = ("cudnn_frontend.h", "cudnn.h", "cuda_runtime.h", "nvrtc.h", "crt/host_defines.h", "nv/target")
    folders = cuda_headers()
    missing = [name for name in wanted if not any((folder / name).exists() for folder in folders)]
    if missing:
        raise Missing(f"no {', '.join(missing)}; pip install -r requirements-cudnn.txt first, or set CUDA_HOME")
    extension = native_extension("collage_jax._cudnn", "cudnn")
    extension.extra_compile_args += [
        "-DNV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING",
        *(f"-isystem{folder}" for folder in folders),
    ]
    extension.extra_compile_args = [a.replace("-std=c++17", "-std=c++20") for a in extension.extra_compile_args]
    return extension


def cuda_headers() -> list[Path]:
    """Where headers of NVIDIA's may lie: in wheels, of the environment that is installed into too; in a toolkit."""
    sites = {sysconfig.get_path("purelib"), *site.getsitepackages(), *(path for path in sys.path if path)}
    found = [
        folder for each in sorted(sites) for folder in (Path(each, "include"), *Path(each).glob("nvidia/*/include"))
    ]
    homes = [os.environ.get("CUDNN_ROOT"), os.environ.get("CUDA_HOME"), "/usr/local/cuda"]
    return [folder for folder in (*found, *(Path(home, "include") for home in homes if home)) if folder.is_dir()]


def wheel_root(wheel: str, file_name: str) -> Path | None:
    """The folder under which ``wheel`` has installed ``file_name``."""
    try:
        files = metadata.files(wheel) or []
    except metadata.PackageNotFoundError:
        return None
    found = next((file for file in files if file.match(file_name)), None)
    return None if found is None else Path(found.locate()).resolve().parents[len(Path(file_name).parts) - 1]


def optimised(source: str) -> bool:
    path = Path(source)
    return path.name != "module.cc" and path.parent.name not in ("callback", "cudnn")


class BuildOrSkip(build_ext):
    """Says in one line which extension is skipped and why, which would be buried else."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or 2  # no core waits for the last file of an extension

    def build_extensions(self) -> None:
        compile_one = self.compiler._compile

        def compile_as_needed(obj, src, ext, cc_args, extra_postargs, pp_opts) -> None:
            # What shows things to Python is templates for the most part, and slow to optimise for nothing.
            quickly = [] if optimised(src) else ["-O1"]
            compile_one(obj, src, ext, cc_args, [*extra_postargs, *quickly, *more], pp_opts)

        more = shlex.split(os.environ.get("COLLAGE_JAX_CXXFLAGS", ""))
        self.compiler._compile = compile_as_needed
        for name in ("linker_so", "linker_so_cxx"):  # no path of this machine's Python in what is built
            command = getattr(self.compiler, name, None) or []
            setattr(self.compiler, name, [part for part in command if not part.startswith("-Wl,-rpath")])
        super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as error:
            print(f"collage_jax: skipping {ext.name}: {error}")


def extensions() -> list[Extension]:
    found = []
    every = (onednn, kernels, program, callback, openvino, entry, no_driver, cublas, cuda, cudnn, trampoline)
    wanted = os.environ.get("COLLAGE_JAX_EXTENSIONS", " ".join(make.__name__ for make in every)).split()
    for make in (make for make in every if make.__name__ in wanted):
        try:
            found.append(make())
        except (Missing, ImportError) as reason:
            print(f"collage_jax: skipping the extension for {make.__name__}: {reason}")
    return found


with suppress(ImportError):  # without pybind11 there is nothing to compile
    from pybind11.setup_helpers import ParallelCompile

    ParallelCompile().install()
setup(ext_modules=extensions(), cmdclass={"build_ext": BuildOrSkip})
