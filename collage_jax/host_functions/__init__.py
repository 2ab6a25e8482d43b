"""A user's Python function as one operation of a JAX program, called on XLA's own memory.

*name* of a function: where it stands and a hash of what it does, equal in every process. A compiled program holds
nothing else of it, so that it can be kept on disk; whoever runs it registers the function first.
*kernel*: a function for wherever a pattern fits, in the table that ``callback_kernel`` fills.
"""

from .call import TARGET as TARGET
from .call import callback_call as callback_call
from .call import load_extension as load_extension
from .call import refused_dtype as refused_dtype
from .digest import Digest as Digest
from .kernels import RESULT as RESULT
from .kernels import CallbackKernel as CallbackKernel
from .kernels import callback_kernel as callback_kernel
from .kernels import register as register
from .kernels import registered as registered
from .kernels import unregister as unregister
