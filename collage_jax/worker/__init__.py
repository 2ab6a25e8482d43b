"""Tuning in a process of its own, which a backend may crash or hang without harm to the caller's."""
