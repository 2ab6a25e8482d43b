"""What one file holds, as it comes: programs of each signature, and the arrays that they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import jax
import jax.export

from .. import _compat
from ..backends import registry
from ..calls.deciding import Tuned
from ..calls.dispatch import Jitted
from ..calls.within import as_a_whole, is_spread
from ..candidates import XLA
from ..lowering.build import Lowered
from ..placement import Placement
from ..report.files import to_json
from .arrays import ArraySpec, encode
from .manifest import Signature
from .programs import Programs, exported, listed, packing, shapes
from .trees import check

_REMEDY = "freeze it (`frozen_argnums`), or export collage_jax.jit of a function of arrays, with the model in a closure"


@dataclass(eq=False)
class Members:
    """The members of a file by name. The options are those of ``collage_jax.export``."""

    bake_frozen: bool
    fallback: bool
    vjp_order: int
    data: dict[str, bytes] = field(default_factory=dict)
    arrays: list[ArraySpec] = field(default_factory=list)
    placements: list[Placement] = field(default_factory=list)
    _known: dict[Any, int] = field(default_factory=dict)

    def add(self, jitted: Jitted, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Signature, Programs]:
        """The function at one signature."""
        programs, frozen = _programs(jitted, args, kwargs)
        bakes = self.bake_frozen or not frozen
        if bakes and any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(frozen)):
            raise ValueError(
                "frozen arguments must be arrays to be stored, got jax.ShapeDtypeStruct; pass the arrays, or "
                "bake_frozen=False to give them when the file is loaded"
            )
        if not bakes:
            check(jax.tree.structure(frozen), "frozen arguments that come later", "leave bake_frozen=False out")
        tuned = _tuned(jitted, args, kwargs)
        folder = str(len(self.placements))
        self.placements.append(tuned.placement)
        made: dict[str, jax.export.Exported] = {}
        stored: dict[str, tuple[int, ...]] = {}
        if self.fallback or tuned.lowered is None:
            made["plain"] = programs.plain(jax.tree.leaves(frozen) if bakes else frozen)
            if bakes:
                stored["frozen"] = self._stored(jax.tree.leaves(frozen))
        if tuned.lowered is not None:
            made["placed"] = programs.placed(tuned.lowered, frozen)
            if bakes:
                stored["packed"] = self._stored(packing(tuned.lowered)(frozen))
            else:
                made["prepare"] = exported(packing(tuned.lowered), shapes(frozen))
        names = {kind: f"{folder}/{kind}.jax_export" for kind in made}
        for kind, program in made.items():
            order = self.vjp_order if kind == "plain" else 0
            self.data[names[kind]] = bytes(program.serialize(vjp_order=order))
        placement = f"{folder}/placement.json"
        self.data[placement] = to_json(tuned.placement).encode()
        return Signature(
            placed=names.get("placed"),
            plain=names.get("plain"),
            prepare=names.get("prepare"),
            packed=stored.get("packed"),
            frozen=stored.get("frozen"),
            placement=placement,
            backends=_versions(tuned.placement, tuned.lowered),
            calls=tuple(sorted(frozenset[str]().union(*map(_compat.custom_calls, made.values())))),
            inputs=listed(programs.args, programs.kwargs),
            outputs=tuple(aval.str_short() for aval in programs.original.out_avals),
        ), programs

    def _stored(self, arrays: Iterable[Any]) -> tuple[int, ...]:
        """The numbers of ``arrays`` in the manifest; equal ones are one member."""
        return tuple(map(self._number, arrays))

    def _number(self, array: Any) -> int:
        spec, data = encode(jax.numpy.asarray(array), f"arrays/{len(self.arrays)}.npy")
        key = sha256(data).digest(), spec.dtype, spec.keys
        if key not in self._known:
            self._known[key] = len(self.arrays)
            self.arrays.append(spec)
            self.data[spec.file] = data
        return self._known[key]


def _programs(jitted: Jitted, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Programs, tuple[Any, ...]]:
    """What there is to export, and the frozen arguments."""
    roles = jitted._roles
    if is_spread((args, kwargs)):
        raise ValueError("arguments must lie on one device, got some that are spread over several; gather them first")
    for leaf in jax.tree.leaves(roles.dynamic(args, kwargs)):
        if not all(isinstance(size, int) for size in getattr(leaf, "shape", ())):
            raise ValueError(
                f"sizes must be numbers, for they decide about kernels, got {leaf.shape}; pass every set of arguments "
                "that will be needed, in `also`"
            )
    passed, donated = roles.passed(len(args)), roles.donated(len(args))
    for i in passed:
        check(jax.tree.structure(args[i]), f"argument {i}, which each call passes,", _REMEDY)
    for name, value in roles.dynamic((), kwargs)[1].items():
        check(jax.tree.structure(value), f"argument `{name}`, which each call passes,", _REMEDY)
    with as_a_whole():
        traced = jitted._undonated.trace(*args, **kwargs)
    check(traced.out_tree, "the result of an exported function", "return its arrays")
    programs = Programs(
        jitted._name,
        traced.jaxpr,
        roles.frozen_leaves(args),
        shapes([args[i] for i in passed]),
        shapes(roles.dynamic((), kwargs)[1]),
        traced.out_tree,
        tuple(i for i, place in enumerate(passed) if place in donated),
        tuple(sorted(roles.donated_names.intersection(kwargs))),
    )
    return programs, tuple(args[i] for i in roles.frozen)


def _tuned(jitted: Jitted, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tuned:
    if jitted._off:
        return Tuned(jitted.placement(*args, **kwargs), None)
    return jitted._program(args, kwargs).tuned


def _versions(placement: Placement, lowered: Lowered | None) -> dict[str, str]:
    """The backends that run something, and their versions."""
    used: Sequence[str] = [] if lowered is None else sorted({region.backend for region in placement.regions} - {XLA})
    return {name: registry.get(name).version() for name in used}
