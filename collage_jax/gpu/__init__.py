"""NVIDIA GPUs: what they are, where their libraries lie, and compiling for one that is not here."""
