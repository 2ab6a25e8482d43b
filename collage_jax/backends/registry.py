"""Which backends there are, and which of them a function may use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import target
from ..costs import FAULTS, told
from ..spelling import did_you_mean
from ..switches import Switches, in_force
from . import discovery
from .base import ELSEWHERE, Backend, Unsupported
from .discovery import REFERENCE
from .source import state_version

#: What ``register_backend`` made known in this process.
_registered: dict[str, Backend] = {}


@dataclass(frozen=True)
class BackendInfo:
    """What ``collage_jax.backends()`` says of a backend; ``unavailable`` is the reason, None if it can be used.

    ``deterministic`` is True if it gives the same bits in every call and process.
    """

    name: str
    kind: str
    platforms: tuple[str, ...]
    version: str
    unavailable: str | None
    deterministic: bool = False

    @property
    def available(self) -> bool:
        return self.unavailable is None


def _known() -> dict[str, Backend]:
    """Every backend by name: the built-in ones, those of packages, those registered."""
    return {**discovery.builtin(), **discovery.of_packages(), **_registered}


def register_backend(backend: Backend) -> None:
    """Let functions use ``backend`` for what they have not tuned yet.

    Raises ``TypeError`` or ``ValueError`` if it is no complete ``Backend``, or its name is taken.
    """
    discovery.check(backend)
    if backend.name in _known():
        raise ValueError(f"a backend called {backend.name!r} is there already; unregister it first, or choose a name")
    backend._state = state_version(backend)
    _registered[backend.name] = backend


def unregister_backend(name: str) -> None:
    """Forget a backend that ``register_backend`` made known. What was tuned with it stays as it is."""
    if name not in _registered:
        why = "it came with the library or a package" if name in _known() else "there is none"
        listed = ", ".join(sorted(_registered)) or "none"
        raise ValueError(f"no registered backend is called {name!r} ({why}); registered: {listed}")
    del _registered[name]


def is_builtin(name: str) -> bool:
    """True if the backend called ``name``, or the one that it is another form of, came with the library."""
    known = discovery.builtin()
    return name in known or any(form.name == name for backend in known.values() for form in backend.forms())


def portable() -> tuple[dict[str, Backend], dict[str, Any]]:
    """What another process needs to have this one's backends: those registered, and the state of the others."""
    others = {**discovery.builtin(), **discovery.of_packages()}
    return dict(_registered), {n: state for n, b in others.items() if (state := b.portable()) is not None}


def adopt(registered: dict[str, Backend], states: dict[str, Any]) -> None:
    """Have the backends that ``portable`` gave in another process."""
    _registered.clear()
    _registered.update(registered)
    for name, state in states.items():
        get(name).adopt(state)


def reference() -> Backend:
    """The backend that runs everything."""
    return discovery.builtin()[REFERENCE]


def with_reference(backends: Iterable[Backend]) -> dict[str, Backend]:
    """``backends`` by name, and the reference."""
    return {b.name: b for b in (*backends, reference())}


def get(name: str) -> Backend:
    """The backend called ``name``, or its form of that name; ``ValueError`` with the known names if there is none."""
    if (why := why_unknown(name)) is not None:
        raise ValueError(why)
    known = _known()
    return known[name] if name in known else _form(known[name.partition("@")[0]], name)


def why_unknown(name: str) -> str | None:
    """What is wrong with a name that no backend has, nor one that it may be a form of; None if one has it."""
    known = _known()
    if name in known or name.partition("@")[0] in known:
        return None
    return f"no backend is called {name!r}; known: {', '.join(sorted(known))}{did_you_mean(name, known)}"


def backends() -> tuple[BackendInfo, ...]:
    """Every known backend: name, kind, platforms, version and, if it cannot be used here, the reason."""
    return tuple(_info(backend) for backend in _known().values())


def _info(backend: Backend) -> BackendInfo:
    reason = why_switched_off(backend, in_force()) or why_unavailable(backend)
    version = backend.version() if reason is None else ""
    return BackendInfo(backend.name, backend.kind, backend.platforms, version, reason, backend.deterministic)


def why_switched_off(backend: Backend, switches: Switches) -> str | None:
    """Why ``switches`` leave nothing to ``backend``; None if they do, and for the reference."""
    if backend.name == REFERENCE:
        return None
    if (reason := switches.why_not(backend.name)) is not None:
        return reason
    return why_may_vary(backend) if switches.deterministic else None


def why_may_vary(backend: Backend) -> str | None:
    """Why ``deterministic`` leaves ``backend`` out; None if it does not."""
    return None if backend.deterministic else "it does not promise the same bits each time, as `deterministic` asks"


def why_unavailable(backend: Backend) -> str | None:
    """Why ``backend`` cannot be used in this process on what is placed for, JAX's default device if nothing else."""
    aim = target.current()
    if aim.platform not in backend.platforms:
        return f"{ELSEWHERE}{', '.join(backend.platforms)}, and {_told(aim)}{_also_missing(backend)}"
    if aim.unlike and backend.name != REFERENCE:
        return (
            f"kernels are chosen and made for one kind of GPU, and this process has {', '.join(aim.unlike)}: leave one "
            "kind visible, with CUDA_VISIBLE_DEVICES or jax_cuda_visible_devices"
        )
    try:
        refusal = backend.available()
        if refusal is not None and not isinstance(refusal, Unsupported):
            raise TypeError(f"`available` must return None or Unsupported(reason), got {refusal!r}")
        # Part of every cost's key, so it must not fail later.
        if refusal is None and not isinstance(version := backend.version(), str):
            raise TypeError(f"`version` must return a text, got {version!r}")
    except FAULTS as error:
        return told(error)
    return None if refusal is None else refusal.reason


def _told(aim: target.Target) -> str:
    return f"JAX's default backend is {aim.platform}" if aim.is_here else f"this is for a {aim.platform}"


def _also_missing(backend: Backend) -> str:
    """What would have to be installed besides, for the end of a message."""
    try:
        missing = backend.missing()
    except FAULTS as error:
        return f"; `missing` failed: {told(error)}"
    return "" if missing is None else f"; {missing.reason}"


def usable(names: Sequence[str] | None, switches: Switches | None = None) -> tuple[list[Backend], dict[str, str]]:
    """Backends to place on, the reference left out, and for each other allowed one the reason it cannot be used.

    ``names`` None means every known one. With a backend come its other forms where they can be timed; with a form's
    name that form alone. One that ``switches`` (None: those in force) bar is not asked anything: whatever it does when
    it is loaded, it does not do.
    """
    switches = in_force() if switches is None else switches
    chosen = [get(n) for n in names] if names is not None else list(_known().values())
    reasons = {b.name: why_switched_off(b, switches) or why_unavailable(b) for b in chosen if b.name != REFERENCE}
    good: list[Backend] = []
    for backend in chosen:
        if backend.name == REFERENCE or reasons[backend.name] is not None:
            continue
        try:
            forms = _forms(backend) if target.current().is_here else ()
            good += (backend, *(form for form in forms if switches.why_not(form.name) is None))
        except FAULTS as error:
            reasons[backend.name] = f"`forms` failed: {told(error)}"
    good = list({backend.name: backend for backend in good}.values())  # a form may be named beside its backend
    return good, {name: reason for name, reason in reasons.items() if reason is not None}


def _form(backend: Backend, name: str) -> Backend:
    try:
        forms = {form.name: form for form in _forms(backend)}
    except FAULTS as error:
        raise ValueError(f"{name!r} cannot be had: `forms` of {backend.name!r} failed: {told(error)}") from error
    if name not in forms:
        listed = ", ".join(forms) or "none"
        raise ValueError(f"no form of {backend.name!r} is called {name!r}; its forms: {listed}")
    return forms[name]


def _forms(backend: Backend) -> Sequence[Backend]:
    """The other forms of ``backend``; ``ValueError`` if one has not its name and a number, by which forms are told."""
    if "@" in backend.name:  # it is one itself
        return ()
    forms = backend.forms()
    for form in forms:
        discovery.check(form)
        if not form.name.startswith(f"{backend.name}@"):
            raise ValueError(f"a form of {backend.name!r} is called {form.name!r}; write {backend.name + '@1'!r}")
    return forms
