"""XLA's own description of a GPU, so that it compiles for one that is not here.

The fields are those of XLA's ``GpuTargetConfigProto`` (xla/stream_executor/device_description.proto).
"""

from __future__ import annotations

import importlib.util
from typing import Any

import jax

from .. import _compat
from .device import KIB, GpuDevice

#: What has to be installed for XLA to compile for a GPU; its own dependencies are not needed for that.
WHEELS = ("jax-cuda13-pjrt", "jax-cuda13-plugin")
_MODULES = ("jax_plugins.xla_cuda13", "jax_plugins.xla_cuda12")
_CUDA, _CUDNN = (13, 0), (9, 28)


def why_not() -> str | None:
    """Why XLA cannot compile for GPUs here, or None."""
    for module in _MODULES:
        try:
            if importlib.util.find_spec(module) is not None:
                return None
        except ModuleNotFoundError:  # there is no `jax_plugins` at all
            continue
    version = jax.__version__
    wanted = " ".join(f"{wheel}=={version}" for wheel in WHEELS)
    return f"XLA's compiler for CUDA is not installed: pip install --no-deps {wanted}"


def text(device: GpuDevice) -> str:
    """The description of ``device`` in protobuf's text format."""
    major, minor = divmod(device.sm, 10)
    return f"""
gpu_device_info {{
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  core_count: {device.multiprocessors}
  fpus_per_core: {device.fp32_units}
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: {device.threads}
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  shared_memory_per_block: {48 * KIB}
  shared_memory_per_block_optin: {device.shared_memory_optin}
  shared_memory_per_core: {device.shared_memory}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  l2_cache_size: {device.l2_cache}
  device_memory_size: {device.memory}
  memory_bandwidth: {int(device.bandwidth)}
  clock_rate_ghz: {device.clock_mhz / 1000}
}}
platform_name: "CUDA"
device_description_str: "{device.name}"
runtime_version {{ major: {_CUDA[0]} minor: {_CUDA[1]} }}
dnn_version_info {{ major: {_CUDNN[0]} minor: {_CUDNN[1]} }}
"""


def sharding_on(device: GpuDevice) -> Any:
    """The sharding of an array that lies on one ``device``, which programs can be compiled for but not run on.

    Raises ``RuntimeError`` naming the packages where XLA's compiler for CUDA is missing, or why it does not start.
    """
    if (reason := why_not()) is not None:
        raise RuntimeError(reason)
    try:
        topology = _compat.cuda_topology(text(device))
    except Exception as error:  # JAX has told the reason on standard error
        raise RuntimeError(
            f"XLA's compiler for CUDA is installed and does not start ({type(error).__name__}: {error}); where there "
            "is no GPU, set JAX_PLATFORMS=cpu before JAX starts, or it gives the plugin up"
        ) from error
    return jax.sharding.SingleDeviceSharding(topology.devices[0])
