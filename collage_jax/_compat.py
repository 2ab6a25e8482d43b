"""Every private or version-dependent JAX name the library uses, and nothing else.

JAX 0.10.2 has ``ClosedJaxpr`` around ``Jaxpr``; from 0.11 the two are one class whose constants are inside. The rest of
the library sees only the functions below.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import jaxlib.version
import numpy as np
from jax._src import api_util as _api_util
from jax._src import checkify as _checkify
from jax._src import config as _config
from jax._src import core as _core
from jax._src import distributed as _distributed
from jax._src import pjit as _pjit
from jax._src import source_info_util as _source_info
from jax._src.export import _export as _export
from jax._src.interpreters import mlir as _mlir
from jax._src.interpreters import partial_eval as _partial_eval
from jax._src.lax import lax as _lax
from jax._src.lib import xla_client as _xla_client  # pyright: ignore[reportPrivateImportUsage]
from jax._src.lib.mlir import ir as _ir  # pyright: ignore[reportPrivateImportUsage]
from jax._src.literals import TypedNdArray
from jax.experimental import topologies as _topologies
from jax.extend import core as jex_core
from jax.interpreters import ad as ad
from jax.interpreters import batching as batching
from jax.interpreters import mlir as mlir

from .ffi.entry import Detour

_Traceback = _xla_client.Traceback

JAXLIB_VERSION: str = jaxlib.version.__version__

Literal = jex_core.Literal
Jaxpr = jex_core.Jaxpr
ClosedJaxpr = jex_core.ClosedJaxpr
Primitive = jex_core.Primitive
JaxprEqn = jex_core.JaxprEqn
jaxpr_as_fun = jex_core.jaxpr_as_fun

#: ``is_top_level()``: True outside every JAX transformation. Bound once because it is on the path of each call.
is_top_level: Callable[[], bool] = _core.trace_ctx.is_top_level


def is_for_here(lowering_context: Any, even_exported: bool = False) -> bool:
    """True if what is lowered runs in this process, on its default backend: nobody exports it, to this or another.

    ``even_exported``: for the same kind of device will do.
    """
    module = lowering_context.module_context
    here = jax.default_backend()
    names = {"gpu": {"cuda", "rocm"}}.get(here, {here})
    is_kept = even_exported or not module.lowering_parameters.for_export
    return is_kept and names.issuperset(module.platforms)


def runs_here(lowering_context: Any, even_exported: bool = False) -> bool:
    """True if what is lowered may hold calls of this machine's libraries.

    False where it is exported, unless ``even_exported``, and where the partitioner, which would gather what several
    devices hold of their operands, decides what each runs; under ``shard_map`` each device has a program of its own.
    """
    context = lowering_context.module_context.axis_context
    mesh = getattr(context, "mesh", None)
    partitioned = (getattr(context, "num_devices", 1) or 1) > 1
    if mesh is not None:
        open_axes = set(mesh.axis_names) - set(context.manual_axes)
        partitioned = any(mesh.shape[name] > 1 for name in open_axes)
    return not partitioned and is_for_here(lowering_context, even_exported)


def cuda_topology(description: str) -> Any:
    """One CUDA device that programs can be compiled for, given XLA's description of it; none has to be here."""
    return _topologies.get_topology_desc(platform="cuda", target_config=description, topology="1x1x1")


def as_varying(operands: Sequence[Any]) -> Sequence[Any]:
    """``operands`` as varying over the same axes of a ``shard_map``, as JAX's own operations make theirs."""
    return _core.auto_insert_reshard(*operands) if operands else operands


def out_avals(closed: Any, avals: Sequence[Any]) -> list[Any]:
    """What the closed jaxpr gives for inputs of ``avals``: its own outputs, varying over the axes the inputs do."""
    varying = next((aval.mat for aval in avals if isinstance(aval, _core.ShapedArray) and not aval.mat.empty), None)
    if varying is None:
        return list(closed.out_avals)
    sharding = jax.sharding.NamedSharding(jax.sharding.get_abstract_mesh(), jax.sharding.PartitionSpec())
    return [a.update(sharding=sharding, manual_axis_type=varying) for a in closed.out_avals]


def as_on_one_device(lowering_context: Any, closed: Any) -> Any:
    """The context in which the closed jaxpr is lowered as if there was no ``shard_map`` around it."""
    return lowering_context.replace(avals_in=list(closed.in_avals), avals_out=list(closed.out_avals))


def manual_axes() -> frozenset[Any]:
    """The axes of the mesh along which JAX traces what each device does by itself (``shard_map``)."""
    return frozenset(jax.sharding.get_abstract_mesh().manual_axes)


def varying(aval: Any) -> frozenset[Any]:
    """The axes of a mesh along which an array of this type differs from device to device."""
    return aval.mat.varying if isinstance(aval, _core.ShapedArray) else frozenset()


def has_named_axes(closed: Any) -> bool:
    """True if a closed jaxpr has an effect along an axis with a name: an operation between devices, for one."""
    return any(isinstance(effect, _core.NamedAxisEffect) for effect in closed.effects)


def vary_alike(closed: Any) -> bool:
    """True if every output of a closed jaxpr varies over all axes that any input does."""
    axes = frozenset[Any]().union(*map(varying, closed.in_avals))
    return all(varying(aval) == axes for aval in closed.out_avals)


def crosses_devices_only(closed: Any) -> bool:
    """True if a closed jaxpr has no effect but that of operations between devices."""
    return all(isinstance(effect, _core.NamedAxisEffect) for effect in closed.effects)


def is_traced(leaf: Any) -> bool:
    """True for what stands for an array while JAX traces."""
    return isinstance(leaf, _core.Tracer)


def is_partitioned(leaf: Any) -> bool:
    """True for a traced array whose type says how it is spread over a mesh."""
    sharding = getattr(leaf.aval, "sharding", None) if is_traced(leaf) else None
    return any(part is not None for part in getattr(sharding, "spec", ()))


def holds_tracers(closed: Any) -> bool:
    """True if a closed jaxpr holds values of a trace that is going on."""
    return any(map(is_traced, open_jaxpr(closed)[1]))


def check_as(primitive: Any, original_of: Callable[[dict[str, Any]], Any]) -> None:
    """Have ``checkify`` look for errors in the closed jaxpr ``original_of(params)`` in place of ``primitive``."""

    def rule(*args: Any, **params: Any) -> Any:
        first = next(i for i, arg in enumerate(args) if isinstance(arg, _checkify.Error))  # 0.12 has a context before
        error, enabled_errors, *operands = args[first:]
        check: Callable[..., Any] = _checkify.checkify_jaxpr
        return check(*args[:first], original_of(params), enabled_errors, error, *operands)

    _checkify.error_checks[primitive] = rule


def open_jaxpr(jaxpr: Any) -> tuple[Any, list[Any]]:
    """``(jaxpr, constants)`` of a closed jaxpr, whichever class holds it; ``constants`` match ``jaxpr.constvars``."""
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    return inner, list(getattr(jaxpr, "consts", ()))


def is_jaxpr(thing: Any) -> bool:
    """True for an open or closed jaxpr."""
    return isinstance(thing, (Jaxpr, ClosedJaxpr))


def make_closed_jaxpr(fun: Callable[..., Sequence[Any]], avals: Sequence[Any]) -> Any:
    """Trace ``fun`` (flat arguments, flat results) at ``avals`` to what control-flow primitives take as a body.

    Constants that tracing meets stay inside the result.
    """
    return jax.make_jaxpr(fun)(*avals)


def without_dead_code(closed: Any) -> Any:
    """A closed jaxpr without what no result needs, in bodies too; ``jax.jit`` lowers no more than that, either."""
    return closed.replace(jaxpr=_partial_eval.dce_jaxpr(closed.jaxpr, True, instantiate=True)[0])


def bind(eqn: Any, params: dict[str, Any], operands: Sequence[Any]) -> list[Any]:
    """Bind ``eqn``'s primitive again with ``params`` on ``operands``, in the equation's own context and name stack."""
    info = eqn.source_info
    name_stack = _source_info.current_name_stack() + info.name_stack
    with _source_info.user_context(info.traceback, name_stack=name_stack), eqn.ctx.manager:
        result = eqn.primitive.bind(*operands, **eqn.primitive.get_bind_params(params))
    return list(result) if eqn.primitive.multiple_results else [result]


def process_number() -> int:
    """The number of this process in its job of ``jax.distributed``, counted from 0; 0 without a job."""
    return _distributed.global_state.process_id if coordinator() is not None else 0


def coordinator() -> Any:
    """The client of the job's key-value store; None where this process is no part of a job of several."""
    state = _distributed.global_state
    return state.client if state.client is not None and (state.num_processes or 1) > 1 else None


def is_typed_by_mesh(array: Any) -> bool:
    """True if the type, or an array's, names a mesh (of explicit axes): operations refuse others beside it."""
    mesh = getattr(getattr(array, "sharding", None), "mesh", None)
    return jax.sharding.AxisType.Explicit in (getattr(mesh, "axis_types", None) or ())


def untyped_by_mesh(array: Any) -> Any:
    """``array``, whose type names its mesh, of a type that does not; on any one device if it is whole on each."""
    held = array.sharding
    if jnp.issubdtype(array.dtype, jax.dtypes.extended):
        return array  # keys: NumPy has no such dtype
    if held.is_fully_replicated:
        # Bound to no device, so that it goes with arrays on any.
        return jax.device_put(np.asarray(array.addressable_data(0)))
    axes = (jax.sharding.AxisType.Auto,) * len(held.mesh.axis_names)
    mesh = jax.sharding.Mesh(held.mesh.devices, held.mesh.axis_names, axis_types=axes)
    return jax.device_put(array, jax.sharding.NamedSharding(mesh, held.spec, memory_kind=held.memory_kind))


def trace_config() -> Hashable:
    """Everything in JAX's configuration that changes what a trace or compilation gives (x64, precision, mesh, ...)."""
    return _config.trace_context()


def is_interpreting() -> bool:
    """True under ``jax.disable_jit``."""
    return _config.disable_jit.value


def infer_static(fun: Callable[..., Any], argnums: Any, argnames: Any) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Static argument numbers and names of ``fun``, each completed from the other as ``jax.jit`` does it."""
    try:
        signature = inspect.signature(fun)
    except (ValueError, TypeError):
        return _api_util.infer_argnums_and_argnames(_UNKNOWN_SIGNATURE, argnums, argnames)
    return _api_util.infer_argnums_and_argnames(signature, argnums, argnames)


def jitted(fun: Any) -> tuple[Callable[..., Any], dict[str, Any]] | None:
    """What ``jax.jit`` made ``fun`` of, with the static and donated arguments it was given; None if it did not.

    None too if it was given shardings, layouts or options of the compiler.
    """
    info = getattr(fun, "_jit_info", None)
    if not isinstance(info, _pjit.PjitInfo):
        return None
    places = (*info.in_shardings_leaves, *info.out_shardings_leaves, *info.in_layouts_leaves, *info.out_layouts_leaves)
    is_plain = all(place is None or type(place).__name__ == "UnspecifiedValue" for place in places)
    if not is_plain or info.compiler_options_kvs or info.device is not None or info.backend is not None:
        return None
    names = ("static_argnums", "static_argnames", "donate_argnums", "donate_argnames")
    return fun._fun, {name: getattr(info, name) for name in names}


_UNKNOWN_SIGNATURE = inspect.signature(lambda *args, **kwargs: None)


def with_aval(array: Any, aval: Any) -> Any:
    """``array`` with the weak type that ``aval`` has; shape and dtype are equal already."""
    if jax.typeof(array).weak_type == aval.weak_type:
        return array
    return _lax._convert_element_type(array, aval.dtype, weak_type=aval.weak_type)


def typeof(leaf: Any) -> Any:
    """The abstract value of an array, a scalar, a tracer or a ``jax.ShapeDtypeStruct``."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return _core.ShapedArray(leaf.shape, leaf.dtype, weak_type=leaf.weak_type)
    return _core.shaped_abstractify(leaf)


def mend_dispatch(jitted: Any) -> None:
    """Let ``jitted`` dispatch in C++ again for signatures whose tracing failed.

    ``jax.jit`` calls Python for such a signature ever after, 15 times slower. Compiled programs stay.
    """
    jitted._clear_cache()


class SpreadOverDevices(Detour):
    """Raised while a program made for one device of the default platform is compiled for others."""


def for_one_device(array: Any) -> Any:
    """``array``; a program that holds it this way raises ``SpreadOverDevices`` when it is compiled for several devices.

    How arguments are spread is known only then, and the partitioner would gather the operands of a foreign call. It
    does so for another platform too: that of arguments which were put on the CPU of a process with a GPU, say.
    """
    return _one_device.bind(array)


def _lower_one_device(ctx: Any, array: Any) -> list[Any]:
    if getattr(ctx.module_context.axis_context, "num_devices", 1) > 1 or not is_for_here(ctx):
        raise SpreadOverDevices
    return [array]


_one_device = jex_core.Primitive("for_one_device")
_one_device.def_impl(lambda array: array)
_one_device.def_abstract_eval(lambda aval: aval)
mlir.register_lowering(_one_device, _lower_one_device)


def custom_calls(exported: jax.export.Exported) -> frozenset[str]:
    """The foreign functions that what was exported calls, by name."""
    found: set[str] = set()

    def visit(operation: Any) -> Any:
        if operation.name == "stablehlo.custom_call":
            found.add(operation.attributes["call_target_name"].value)
        return _ir.WalkResult.ADVANCE

    with mlir.make_ir_context():
        exported.mlir_module(serialized=False).operation.walk(visit)
    return frozenset(found)


def stable_custom_calls() -> frozenset[str]:
    """The foreign functions of JAX's own that ``jax.export`` takes."""
    return frozenset(_export._CUSTOM_CALL_TARGETS_GUARANTEED_STABLE)


def registered_custom_calls(platform: str) -> frozenset[str]:
    """The foreign functions that programs for ``platform`` can call in this process. Creates JAX's client."""
    jax.local_devices(backend=platform)
    return frozenset(_xla_client.custom_call_targets(platform))


def numeric_settings() -> str:
    """JAX's settings that change what is computed: 64-bit mode and the precision of products."""
    return f"x64={_config.enable_x64.value} precision={_config.default_matmul_precision.value}"


def shaped(shape: Sequence[int], dtype: Any, weak_type: bool) -> Any:
    """The abstract value of an array."""
    kept = dtype if jax.numpy.issubdtype(dtype, jax.dtypes.extended) else np.dtype(dtype)
    return _core.ShapedArray(tuple(shape), kept, weak_type=weak_type)


def reduced(thing: Any) -> tuple[Any, ...] | None:
    """How to pickle ``thing``, an object of JAX's that does not know it or does it wrong; None for any other.

    Tracebacks become None.
    """
    if isinstance(thing, _Traceback):
        return _nothing, ()
    if isinstance(thing, TypedNdArray):
        return TypedNdArray, (np.asarray(thing), thing.aval)
    return None


def _nothing() -> None:
    return None


def plain_call(invars: Any, outvars: Any, called: Any, effects: Any, source_info: Any, ctx: Any) -> Any:
    """An equation that calls the closed jaxpr ``called`` and nothing else."""
    params = {"call_jaxpr": called}
    return _core.new_jaxpr_eqn(invars, outvars, _core.closed_call_p, params, effects, source_info, ctx)


#: Settings that change what a program computes or how it is compiled.
_NUMERIC_SETTINGS = (
    "jax_enable_x64", "jax_explicit_x64_dtypes", "jax_default_matmul_precision", "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion", "jax_threefry_partitionable", "jax_default_prng_impl", "jax_enable_custom_prng",
    "jax_optimization_level", "jax_exec_time_optimization_effort", "jax_disable_most_optimizations",
    "jax_allow_f16_reductions", "jax_cpu_enable_async_dispatch", "jax_softmax_custom_jvp",
)  # fmt: skip


def configuration() -> dict[str, Any]:
    """JAX's settings as they are for this thread, those that another process has to share to do the same."""
    return {name: getattr(jax.config, name) for name in _NUMERIC_SETTINGS if hasattr(jax.config, name)}


def configure(settings: dict[str, Any]) -> None:
    """Take over the settings that ``configuration`` gave in another process."""
    for name, value in settings.items():
        if getattr(jax.config, name, None) != value:
            jax.config.update(name, value)


def lowered_on(platform: str) -> frozenset[str]:
    """Names of the primitives that can be lowered for ``platform``."""
    rules = (_mlir._lowerings, _mlir._platform_specific_lowerings[platform])
    return frozenset(primitive.name for table in rules for primitive in table)
