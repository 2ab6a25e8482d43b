"""Choosing: pure functions from candidates and costs to a cover of the graph."""
