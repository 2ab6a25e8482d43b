"""Checking and timing: candidates of a region, and whole programs."""
