"""Which of JAX's primitives random programs hold, and why no program holds the others."""

from __future__ import annotations

import random
from collections.abc import Iterator

import jax

from .. import _compat
from .builder import Builder
from .drawing import names_in, step
from .operations import MOTIFS, SINGLE, Operation

_DEVICES = "moves data between devices under a mesh of several, where calls stay with XLA or are parted"
_SPLIT = "half of an operation between devices that is begun and awaited apart: on GPUs and TPUs"
_TYPES = "says along which axes of a mesh an array varies, and computes nothing"
_EFFECT = "is an effect: functions with effects stay with XLA as they are"
_INSIDE = "made while JAX lowers another one; no function that is traced holds it"
_POLYMORPHIC = "is there in exported programs of unknown sizes alone"
_GPU = "wraps a GPU library's calls: it cannot be lowered for a CPU though it is registered for all platforms"
_RANDOM = "gives other numbers each time, or arrays of no content"
_REFERENCE = "works on mutable arrays, which are discharged before"
_MARK = "marks values of other transformations of JAX's, which take it out again"

#: Primitives that have a rule for lowering on CPUs and are in no program, each with the reason, for all
#: versions of JAX that are supported.
OUT_OF_REACH: dict[str, str] = {
    **dict.fromkeys(("all_gather_invariant", "all_gather_reduced", "ragged_all_to_all", "psum_invariant"), _DEVICES),
    **dict.fromkeys(("preduced", "unreduced_psum", "unreduced_reduce_scatter", "psend", "precv"), _DEVICES),
    **dict.fromkeys(("unreduced_pmax", "unreduced_pmin", "relayout", "layout_constraint"), _DEVICES),
    **dict.fromkeys(("inspect_sharding", "with_memory_space_constraint"), _DEVICES),
    **{
        f"{name}_{half}": _SPLIT
        for name in (
            "all_gather", "all_to_all", "pbroadcast", "ppermute", "psum", "reduce_scatter", "all_gather_reduced",
            "psum_invariant", "unreduced_psum", "unreduced_reduce_scatter",
        )
        for half in ("start", "done")
    },
    **dict.fromkeys(("pvary", "reduced_vary_cast_p", "vary_unreduced_cast_p"), _TYPES),
    **dict.fromkeys(("reduced_vary_cast", "vary_unreduced_cast"), _TYPES),
    **dict.fromkeys(("debug_callback", "debug_print", "io_callback", "check", "shape_assertion"), _EFFECT),
    **dict.fromkeys(("after_all", "create_token", "ffi_call", "custom_partitioning", "call_exported"), _EFFECT),
    **dict.fromkeys(("iota_2x32_shape", "threefry2x32", "threefry4x32", "philox2x32", "philox4x32"), _INSIDE),
    **dict.fromkeys(("collage_jax_placed", "for_one_device", "geqp3", "unreachable", "scaled_matmul_wrapper"), _INSIDE),
    **dict.fromkeys(("call", "closed_call", "eval_jaxpr", "core_map", "remat_opt"), _INSIDE),
    **dict.fromkeys(("custom_lin", "select_and_scatter"), _INSIDE),
    **dict.fromkeys(("dim_as_value", "dimension_size"), _POLYMORPHIC),
    **dict.fromkeys((f"dot_product_attention_{w}_wrapper" for w in ("fwd", "bwd", "fp8_fwd", "fp8_bwd")), _GPU),
    "scaled_matmul": _GPU,
    **dict.fromkeys(("rng_uniform", "empty"), _RANDOM),
    **dict.fromkeys(("run_state", "broadcast_to", "create_linear", "pin", "unpin"), _REFERENCE),
    **dict.fromkeys(("stage", "tie", "to_edtype", "from_edtype"), _MARK),
}  # fmt: skip


def known() -> frozenset[str]:
    """Names of the primitives that this JAX can lower for a CPU."""
    return _compat.lowered_on("cpu")


def reached(tries: int, seed: int = 0) -> frozenset[str]:
    """Names of the primitives that the operations make in so many tries each."""
    return frozenset(name for each in (*SINGLE, *MOTIFS) for name in _made_by(each, tries, seed))


def _made_by(operation: Operation, tries: int, seed: int) -> Iterator[str]:
    builder = Builder(random.Random(f"{operation.__name__} {seed}"), step)

    def write() -> None:
        for _ in range(tries):
            builder.vars.clear()
            with builder.attempt(operation.__name__):
                operation(builder)

    yield from names_in(jax.make_jaxpr(write)())
