"""``collage_jax.export``: a decorated function and its arguments -> ``Exported``, the same as data."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import jax

from .. import _compat, device
from ..adapting import Adapted
from ..api import jit
from ..calls.dispatch import Jitted, unbound
from ..placement import Placement
from . import archive
from .manifest import Manifest, Member
from .members import Members
from .programs import PLATFORM


@dataclass(frozen=True, eq=False)
class Exported:
    """A function as placed for one or several sets of arguments, to be loaded in another process.

    ``members`` are what the file has besides ``manifest``; ``placements`` what was decided, by signature.
    """

    manifest: Manifest
    members: Mapping[str, bytes] = field(repr=False)
    placements: tuple[Placement, ...] = field(repr=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file to ``path``, whole or not at all; ``collage_jax.load(path)`` reads it."""
        archive.save(path, self.manifest, self.members)

    def serialize(self) -> bytes:
        """What ``save`` writes."""
        written = BytesIO()
        archive.write(written, self.manifest, self.members)
        return written.getvalue()

    @property
    def nbytes(self) -> int:
        """Bytes of everything that the file holds."""
        return sum(map(len, self.members.values()))


def export(
    fun: Callable[..., Any],
    /,
    *args: Any,
    kwargs: Mapping[str, Any] | None = None,
    also: Sequence[Sequence[Any]] = (),
    path: str | os.PathLike[str] | None = None,
    bake_frozen: bool = True,
    fallback: bool = True,
    vjp_order: int = 0,
    **options: Any,
) -> Exported:
    """``fun`` as placed for these arguments, as a file for other processes; tunes if that was not done yet.

    Static arguments become part of the program, and so do frozen ones, packed as the kernels want them: neither is
    passed to what ``collage_jax.load`` gives.

    Args:
      fun: a function decorated with ``collage_jax.jit``, a method of that kind, or one to be decorated with
        ``options``, such as ``frozen_argnums=0``.
      args, kwargs: its arguments. Those that are not static, and not frozen and stored, may be
        ``jax.ShapeDtypeStruct``.
      also: further sets of positional arguments, of other shapes or dtypes. Arrays that they share are stored once.
      path: where to save it, if anywhere.
      bake_frozen: False leaves frozen arguments out of the file: ``collage_jax.load(path, *frozen)`` takes them, from a
        checkpoint for one, and packs them once.
      fallback: False leaves out the program that XLA alone runs, with frozen arguments as it wants them. Such a file is
        smaller, and of no use where one of its kernels cannot run.
      vjp_order: how often the loaded function can be differentiated (in reverse mode, by XLA alone).

    Raises:
      TypeError, ValueError: for arguments outside these rules, and for programs that cannot be exported.
    """
    if jax.default_backend() != PLATFORM:
        raise ValueError(
            f"programs can be exported with their kernels for {PLATFORM}, JAX's default backend is "
            f"{jax.default_backend()}; set JAX_PLATFORMS={PLATFORM}, or use jax.export or collage_jax.lower_for"
        )
    if vjp_order and not fallback:
        raise ValueError(f"`vjp_order` is of the fallback, got {vjp_order} with fallback=False; leave fallback out")
    asked, first = _decorated(fun, options)
    members = Members(bake_frozen, fallback, vjp_order)
    made = [members.add(*_normalised(asked, (*first, *a), dict(kwargs or {}))) for a in (args, *also)]
    donated = {(programs.donate_argnums, programs.donate_argnames) for _, programs in made}
    if len(donated) > 1:
        raise ValueError(f"all sets of arguments must donate alike, got {sorted(donated)}; export a file for each")
    manifest = Manifest(
        made[0][1].name,
        _maker(),
        {name: Member.of(data) for name, data in members.data.items()},
        tuple(members.arrays),
        tuple(signature for signature, _ in made),
        *donated.pop(),
        vjp_order,
    )
    exported = Exported(manifest, members.data, tuple(members.placements))
    if path is not None:
        exported.save(path)
    return exported


def _maker() -> dict[str, str]:
    """What makes the file: versions, the machine, settings."""
    return {
        "jax": jax.__version__,
        "jaxlib": _compat.JAXLIB_VERSION,
        "device": device.description(),
        "settings": device.settings(),
    }


def _decorated(fun: Any, options: dict[str, Any]) -> tuple[Jitted | Adapted, tuple[Any, ...]]:
    """``fun`` decorated, and the arguments that come before those of the call."""
    fun, first = unbound(fun)
    if not isinstance(fun, (Jitted, Adapted)):
        return jit(fun, **options), first
    if options:
        raise TypeError(
            f"a decorated function has its options, got {', '.join(options)} besides; give them to collage_jax.jit"
        )
    return fun, first


def _normalised(
    fun: Jitted | Adapted, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Jitted, tuple[Any, ...], dict[str, Any]]:
    """The function of trees of arrays, and its arguments, frozen ones in their positions."""
    if isinstance(fun, Adapted):
        fun, args, kwargs = fun.unpacked(args, kwargs)
    return fun, *fun._normalised(args, kwargs)
