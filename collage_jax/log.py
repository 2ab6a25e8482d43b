"""What happens, through Python's ``logging``, under the name ``collage_jax``.

INFO says what each function was given; WARNING what stays with XLA although it was decided otherwise, and that a worker
was lost; DEBUG the notes of placements, and why backends are missing and regions refused.
"""

from __future__ import annotations

import logging

LOG = logging.getLogger("collage_jax")
