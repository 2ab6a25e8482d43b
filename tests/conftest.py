"""Settings of the whole test run: JAX on the CPU, no worker, nothing kept, how hard hypothesis looks."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["COLLAGE_JAX_CACHE_DIR"] = "off"
os.environ["COLLAGE_JAX_WORKER"] = "off"

from hypothesis import HealthCheck, settings

_COMMON = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
}
settings.register_profile("quick", max_examples=10, **_COMMON)
settings.register_profile("brief", max_examples=3, **_COMMON)
settings.register_profile("thorough", max_examples=300, **(_COMMON | {"derandomize": False}))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
