"""``collage_jax.lower_for``: a function placed, lowered and compiled for a GPU that is not here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from .. import _compat
from ..calls.signature import Roles
from ..calls.within import as_a_whole, whole
from ..candidates import Candidate
from ..costs import told
from ..gpu.device import GpuDevice, known
from ..gpu.xla_target import sharding_on, why_not
from ..lowering.build import Lowered, lower
from ..lowering.plan import Plan
from ..placement import Placement
from ..problem import problem_of
from ..switches import also
from ..target import aiming_at
from .asked import asked
from .placing import Placing
from .program import Donated, GpuProgram, shape_of
from .tracing import apart, callable_of, check_callbacks


@dataclass(frozen=True, eq=False)
class LoweredFor:
    """A function as placed for a GPU that is not here.

    Times in ``placement`` are estimates, as is ``xla_estimate_us``, the same for ``jax.jit``: nothing has run.

    ``run`` is the program. With frozen arguments it is called as ``run(prepared, *args, **kwargs)``, the frozen ones
    replaced by None, and ``prepare(*frozen args)`` is the program that makes ``prepared``; without, ``prepare`` is None
    and ``run`` is called as the function is. The other methods are those of ``run``.
    """

    placement: Placement
    xla_estimate_us: float
    run: GpuProgram
    prepare: GpuProgram | None = None

    @property
    def stage(self) -> str:
        """What ``as_text`` gives, ``"hlo"`` as optimised for the GPU, or ``"stablehlo"`` where nothing compiles it."""
        return self.run.stage

    def as_text(self) -> str:
        """The program in the form that ``stage`` names."""
        return self.run.as_text()

    def stablehlo(self) -> str:
        """The program as XLA is given it, lowered for CUDA."""
        return self.run.stablehlo()

    def compile(self) -> Any:
        """JAX's compiled program, which runs nowhere here.

        Raises ``RuntimeError`` naming the wheels where XLA's compiler for CUDA is missing.
        """
        return self.run.compile()

    def custom_calls(self) -> dict[str, int]:
        """How often ``as_text`` calls each foreign function, by target; XLA's own calls of libraries too."""
        return self.run.custom_calls()

    def export(self) -> bytes:
        """The program for CUDA as ``jax.export`` serialises it."""
        return self.run.export()

    @property
    def memory(self) -> Any:
        """What XLA says of the memory that the program takes on the GPU; None where nothing compiles it."""
        return self.run.memory

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in self.placement.counts().items())
        return f"<LoweredFor: {counts or 'XLA alone'}; {self.stage}>"


def lower_for(
    fun: Callable[..., Any],
    *args: Any,
    device: str = "sm_90",
    backends: Iterable[str] | None = None,
    frozen_argnums: int | Sequence[int] | None = None,
    static_argnums: int | Sequence[int] | None = None,
    **kwargs: Any,
) -> LoweredFor:
    """Place and lower ``fun`` for a GPU that need not be here; compile it if XLA's compiler for CUDA is installed.

    Costs are estimates by a roofline model. Kernels are traced, and compiled with their libraries' own checks, but do
    not run: they are not compared with XLA's. ``collage_jax.jit(fun, placement=...)`` does that on the GPU.

    Args:
      fun: a function of arrays and pytrees. What ``jax.jit`` or ``collage_jax.jit`` made of one is lowered with what
        they were given: static, donated and frozen arguments, backends; the arguments below stand instead of that.
      args, kwargs: its arguments; for arrays shapes will do (``jax.ShapeDtypeStruct``).
      device: the GPU's architecture, such as ``"sm_80"``.
      backends, frozen_argnums: as in ``collage_jax.jit``.
      static_argnums: as in ``jax.jit``.

    Raises:
      TypeError, ValueError: for arguments outside these rules, naming the rule, the value and the remedy.
      RuntimeError: if XLA's compiler for CUDA is installed and does not start.
    """
    it = asked(fun, backends, frozen_argnums, static_argnums)
    gpu, roles, args = known(device), it.roles, (*it.first, *args)
    if roles.frozen:
        args, kwargs = roles.positional(args, kwargs)
    _check_arrays(roles.dynamic(args, kwargs))
    if why_not() is None:
        sharding_on(gpu)
    with aiming_at(gpu), also(it.switches):
        with as_a_whole():
            static = {"static_argnums": roles.static_nums, "static_argnames": tuple(roles.static_names)}
            traced = jax.jit(apart(it.fun), inline=True, **static).trace(*args, **kwargs)
        check_callbacks(traced.jaxpr)
        problem = problem_of(traced.jaxpr, roles.frozen_leaves(args))
        placing = Placing(problem, gpu, it.backends)
        while True:
            plan = placing.plan()
            try:
                lowered = lower(plan, problem.split, placing.backends)
                run, prepare = _programs(lowered, roles, args, kwargs, traced.out_tree, gpu)
            except Exception:
                if not placing.strike(_failing(placing, plan, gpu)):
                    raise
            else:
                return LoweredFor(placing.placement(plan), placing.xla_us, run, prepare)


def _check_arrays(dynamic: Any) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(dynamic):
        try:
            _compat.typeof(leaf)
        except TypeError:
            where = jax.tree_util.keystr(path)
            raise TypeError(
                f"arguments must be arrays or jax.ShapeDtypeStruct, or trees of them, got {leaf!r} at (args, kwargs)"
                f"{where}; name an argument that is no array in `static_argnums`"
            ) from None


def _programs(
    lowered: Lowered, roles: Roles, args: tuple[Any, ...], kwargs: dict[str, Any], out_tree: Any, device: GpuDevice
) -> tuple[GpuProgram, GpuProgram | None]:
    """The program for these arguments, and what prepares frozen ones; compiled if they can be."""
    dynamic_args, dynamic_kwargs = roles.dynamic(args, kwargs)
    donated = _donated(roles, args, dynamic_kwargs)

    def results(flat: Any) -> Any:
        return jax.tree.unflatten(out_tree, flat)

    if not roles.frozen:
        run_flat = whole(lowered, (), None)

        def run(*args: Any, **kwargs: Any) -> Any:
            return results(run_flat(*jax.tree.leaves((args, kwargs))))

        return _compiled(GpuProgram(run, dynamic_args, dynamic_kwargs, device, donated)), None

    def prepare(*frozen: Any) -> Any:
        return lowered.prepare(*jax.tree.leaves(frozen))

    def run_prepared(prepared: Any, *args: Any, **kwargs: Any) -> Any:
        return results(lowered.run(prepared, *jax.tree.leaves((args, kwargs))))

    preparing = _compiled(GpuProgram(prepare, [args[i] for i in roles.frozen], {}, device))
    open_args, _ = roles.dynamic(roles.open(args), kwargs)
    donated = replace(donated, nums=tuple(number + 1 for number in donated.nums))
    running = GpuProgram(run_prepared, (preparing.result, *open_args), dynamic_kwargs, device, donated)
    return _compiled(running), preparing


def _donated(roles: Roles, args: tuple[Any, ...], dynamic_kwargs: dict[str, Any]) -> Donated:
    """The donated arguments, by their places among those that are traced."""
    traced, _ = roles.dynamic(range(len(args)), {})
    given = {number % len(args) for number in roles.donated_nums if -len(args) <= number < len(args)}
    nums = tuple(place for place, number in enumerate(traced) if number in given)
    return Donated(nums, tuple(name for name in roles.donated_names if name in dynamic_kwargs))


def _compiled(program: GpuProgram) -> GpuProgram:
    if why_not() is None:
        program.compile()
    return program


def _failing(placing: Placing, plan: Plan, device: GpuDevice) -> list[tuple[Candidate, str]]:
    """The kernels of ``plan`` that do not compile alone, with reasons."""
    found: list[tuple[Candidate, str]] = []
    for candidate in placing.kernels(plan).values():
        entries = [shape_of(value.aval) for value in candidate.region.entries]
        try:
            _compiled(GpuProgram(callable_of(candidate, placing.backends[candidate.backend]), entries, {}, device))
        except Exception as failure:
            found.append((candidate, told(failure)))
    return found
