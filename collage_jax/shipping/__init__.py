"""Placed functions as files: exported in one process, loaded in another without tuning.

targets    foreign functions that programs call: registered here, found in a program
arrays     arrays as members of a file
trees      which trees a file can hold
manifest   what a file says of itself, read strictly
archive    the file: one zip, sizes and digests checked
making     a decorated function and its arguments -> ``Exported``
fitting    whether what a file needs is here
loaded     what stands for the function in another process
loading    a file -> ``Loaded``
"""

from .loaded import Loaded as Loaded
from .loading import load as load
from .making import Exported as Exported
from .making import export as export
from .targets import exporting as exporting
from .targets import register_ffi_targets as register_ffi_targets
