"""Users' kernels for NVIDIA GPUs, each for wherever its pattern fits: the table that ``cuda_kernel`` fills.

*source*: CUDA C++, or code compiled from it. *match*: the place of the program that a kernel is asked to do.
"""

from .kernels import CudaKernel as CudaKernel
from .kernels import CudaSource as CudaSource
from .kernels import cuda_kernel as cuda_kernel
from .kernels import register as register
from .kernels import registered as registered
from .kernels import unregister as unregister
from .sizes import Launch as Launch
from .sizes import Sizes as Sizes
