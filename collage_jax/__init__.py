"""collage_jax: ``jax.jit`` with a choice of kernels."""

from .api import disabled as disabled
from .api import jit as jit
from .backends.base import Backend as Backend
from .backends.base import PreparedKernel as PreparedKernel
from .backends.base import Proposal as Proposal
from .backends.base import Unsupported as Unsupported
from .backends.registry import BackendInfo as BackendInfo
from .backends.registry import backends as backends
from .backends.registry import register_backend as register_backend
from .backends.registry import unregister_backend as unregister_backend
from .config import config as config
from .costs import Estimated as Estimated
from .costs import Failed as Failed
from .costs import Measured as Measured
from .cuda_kernels import cuda_kernel as cuda_kernel
from .cuda_kernels import unregister as unregister_cuda_kernel  # noqa: F401 - a name of our own
from .deviceless import lower_for as lower_for
from .host_functions import callback_call as callback_call
from .host_functions import callback_kernel as callback_kernel
from .host_functions import unregister as unregister_callback_kernel  # noqa: F401 - a name of our own
from .placement import PlacedRegion as PlacedRegion
from .placement import Placement as Placement
from .shipping import Exported as Exported
from .shipping import Loaded as Loaded
from .shipping import export as export
from .shipping import exporting as exporting
from .shipping import load as load
from .shipping import register_ffi_targets as register_ffi_targets

__version__ = "0.1.0"
