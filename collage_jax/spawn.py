"""A process that has the very modules of this one: its path, and this package from where it came from here.

The path alone does not say where it came from: a program may have put another copy before it since, such as a source
tree in which nothing was built.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: Where the package lies, then the path of modules.
VARIABLE = "COLLAGE_JAX_SPAWN_PATH"

_PACKAGE = Path(__file__).parent

#: Comes before any other import.
_BEGIN = f"""\
import os, sys
_at, *sys.path[:] = os.environ.pop({VARIABLE!r}).split(os.pathsep)
from importlib.util import module_from_spec, spec_from_file_location
_spec = spec_from_file_location({__package__!r}, os.path.join(_at, "__init__.py"), submodule_search_locations=[_at])
sys.modules[_spec.name] = module_from_spec(_spec)
_spec.loader.exec_module(sys.modules[_spec.name])
"""


def command(function: str, *arguments: str, first: str = "") -> list[str]:
    """Calls ``function``, as ``"module:name"``, with ``arguments``, all texts; ``first`` is run before anything."""
    module, _, name = function.partition(":")
    call = f"from {module} import {name}; {name}(*sys.argv[1:])"
    return [sys.executable, "-c", f"{first}\n{_BEGIN}{call}", *arguments]


def environment() -> dict[str, str]:
    """This process's, with what ``command`` needs."""
    path = (str(_PACKAGE), *(place or os.getcwd() for place in sys.path))
    return os.environ | {VARIABLE: os.pathsep.join(path)}
