"""What happens, through Python's ``logging``, under the name ``collage_jax``.

INFO says what was tuned and with what result, DEBUG why all else was refused, WARNING that a worker process was lost.
"""

from __future__ import annotations

import logging

LOG = logging.getLogger("collage_jax")
