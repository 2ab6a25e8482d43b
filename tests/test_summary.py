"""What became of candidates, as rows and reasons of a placement."""

from __future__ import annotations

import jax.numpy as jnp
from fakes import Fake

from collage_jax.candidates import XLA, find
from collage_jax.costs import Failed, Measured
from collage_jax.graph.trace import trace_function
from collage_jax.placement import PlacedRegion
from collage_jax.tuning.summary import left_out


def told(costs_of, chosen="whole"):
    x = jnp.ones((4, 4))
    graph = trace_function(lambda x: jnp.tanh(x @ x), x)
    options = find(graph, [Fake("first"), Fake("second")])
    costs = {(c.key, c.backend): costs_of[c.backend] for c in options.chosen_from if c.backend in costs_of}
    row = PlacedRegion(chosen, ("dot_general",), "all", Measured(1.0), {}, "")
    return {(refusal.backend, refusal.reason) for refusal in left_out((row,), [options], costs)}


def test_backends_that_got_nothing_are_told_of_beside_xla_and_xla_itself_is_not():
    costs = {XLA: Measured(5.0), "first": Measured(7.0), "second": Failed("verify", "differs")}
    assert told(costs) == {
        ("first", "right, but not chosen: 7.0 us, XLA 5.0 us"),
        ("second", "verify: differs"),
    }


def test_a_backend_in_the_rows_is_not_told_of_again():
    assert told({XLA: Measured(5.0), "first": Measured(4.0)}, chosen="first") == set()
