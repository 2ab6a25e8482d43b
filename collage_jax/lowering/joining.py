"""Which of a plan's steps run as one program: the order of the steps, and where one call ends.

*task*: something that makes arrays from arrays, each known by a key: a native call, a change of shape, or anything that
XLA does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from ..ffi.native_call import NativeCall
from ..ffi.program import Step, can_hold, program
from .in_place import written_in_place

Key: TypeAlias = Hashable
Env: TypeAlias = dict[Key, Any]


@dataclass(frozen=True, eq=False)
class Task:
    """``run(*arrays for reads)`` gives the arrays for ``makes``.

    ``call`` is what runs as a step of a program, on those same arrays as they are. ``shape`` marks a task that gives
    its one array this shape and does nothing else. ``title`` is its name in profiles, "backend: what" for a kernel.
    """

    reads: tuple[Key, ...]
    makes: tuple[Key, ...]
    run: Callable[..., Sequence[Any]]
    call: NativeCall | None = None
    shape: tuple[int, ...] | None = None
    title: str = ""


def tasks_of_call(call: NativeCall, arguments: Sequence[Key], result: Key, title: str = "") -> list[Task]:
    """``call`` of the arrays ``arguments``, with what makes its operands from them as tasks before it."""
    tasks: list[Task] = []
    operands: list[Key] = []
    for i, operand in enumerate(call.operands):
        reads = tuple(arguments[at] for at in operand.positions)
        if operand.make is None:
            operands += reads
            continue
        made: Key = (result, i)
        tasks.append(Task(reads, (made,), lambda *arrays, make=operand.make: (make(*arrays),)))
        operands.append(made)
    direct = call.of_ready_operands()
    return [*tasks, Task(tuple(operands), (result,), direct, direct if can_hold(direct) else None, title=title)]


#: What the calls that ran in one program made, and the microseconds that each took, in one array.
Times: TypeAlias = list[tuple[tuple[Key, ...], Any]]


def run_tasks(tasks: Sequence[Task], env: Env, wanted: Iterable[Key], times: Times | None = None) -> None:
    """Put what ``tasks`` make and anybody reads into ``env``, native calls that can run in a row joined into one.

    ``env`` holds the arrays to begin with; ``wanted`` are the keys that are read afterwards. ``times`` gets an entry
    for each program.
    """
    last_read = dict.fromkeys(wanted, len(tasks))
    phases = _phases(tasks, set(env))
    position = {task: i for i, (_, phase) in enumerate(phases) for task in phase}
    for task in tasks:
        for key in task.reads:
            last_read[key] = max(last_read.get(key, 0), position[task])
    for i, (is_native, phase) in enumerate(phases):
        if is_native and sum(task.call is not None for task in phase) > 1:
            with _named(_joined_title(phase)):
                _run_joined(phase, env, {key for key, read in last_read.items() if read > i}, times)
            continue
        for task in phase:
            with _named(task.title):
                env.update(zip(task.makes, task.run(*(env[key] for key in task.reads)), strict=True))


def _named(title: str) -> AbstractContextManager[Any]:
    """What is traced inside is called so in JAX's profiles."""
    return jax.named_scope(title) if title else nullcontext()


def _joined_title(phase: Sequence[Task]) -> str:
    """How many kernels of which backend; "" if nobody named them."""
    backends = Counter(task.title.partition(":")[0] for task in phase if task.title)
    return ", ".join(f"{name}: {count} kernels" for name, count in backends.most_common())


def _phases(tasks: Sequence[Task], known: set[Key]) -> list[tuple[bool, list[Task]]]:
    """``tasks`` in an order in which they can run, as few changes between XLA and native calls as can be.

    Each phase goes on for as long as anything of its kind is ready. Of what is ready, the earlier task comes first.
    """
    phases: list[tuple[bool, list[Task]]] = []
    waiting = list(tasks)
    is_native = is_stuck = False
    while waiting:
        phase: list[Task] = []
        left: list[Task] = []
        # `tasks` are in an order in which they can run, so that one pass finds all that the phase makes ready.
        for task in waiting:
            of_kind = task.call is not None or (task.shape is not None and bool(phase)) if is_native else not task.call
            if of_kind and known.issuperset(task.reads):
                phase.append(task)
                known.update(task.makes)
            else:
                left.append(task)
        if phase:
            phases.append((is_native, phase))
        elif is_stuck:
            raise ValueError(f"steps wait for what no step makes: {waiting[0].reads} for {waiting[0].makes}")
        is_stuck = not phase
        waiting = left
        is_native = not is_native
    return phases


def _run_joined(phase: Sequence[Task], env: Env, read_later: set[Key], times: Times | None) -> None:
    """Run a phase of native calls and changes of shape as one program."""
    origin: dict[Key, Key] = {}  # of an array with another shape: the one whose memory it is
    shapes: dict[Key, tuple[int, ...]] = {}
    steps: list[Step] = []
    for task in phase:
        if task.shape is not None:
            (read,), (made,) = task.reads, task.makes
            origin[made] = origin.get(read, read)
            shapes[made] = task.shape
        elif task.call is not None:
            steps.append(Step(task.call, tuple(origin.get(key, key) for key in task.reads), task.makes[0]))
    made_here = {step.result for step in steps}
    inputs = list(dict.fromkeys(key for step in steps for key in step.operands if key not in made_here))
    every = [key for task in phase for key in task.makes]
    outputs = list(dict.fromkeys(origin.get(key, key) for key in every if key in read_later))
    outputs = [key for key in outputs if key in made_here]
    fewer = written_in_place(steps, outputs)
    results = program(fewer, inputs, outputs, times is not None)(*(env[key] for key in inputs))
    if times is not None:
        *results, took = results
        times.append((tuple(step.result for step in fewer), took))
        if gone := tuple(made_here.difference(step.result for step in fewer)):
            times.append((gone, jnp.zeros(len(gone), took.dtype)))
    env.update(zip(outputs, results, strict=True))
    for key in every:
        if key in origin and key in read_later:
            env[key] = env[origin[key]].reshape(shapes[key])
