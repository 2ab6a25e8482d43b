"""Requests, one sample each, gathered to batches of the sizes that a program was exported for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np


class Full(Exception):
    """More requests wait than may."""


class Closed(Exception):
    """The batcher takes no more requests."""


class Batcher:
    """``await batcher(sample)`` is the result for that sample.

    ``call(batch)`` computes on an array of samples along the first axis, of which there are one of ``sizes``: a smaller
    batch is filled up with zeros. A batch waits ``wait_s`` at most for more samples; ``capacity`` may wait. ``observe``
    gets the number of samples of each batch. Batches are computed one after another in ``executor``.
    """

    def __init__(
        self,
        call: Callable[[np.ndarray], Any],
        sizes: Sequence[int],
        executor: ThreadPoolExecutor,
        wait_s: float = 0.002,
        capacity: int = 256,
        observe: Callable[[int], None] = lambda samples: None,
    ) -> None:
        self._call = call
        self._sizes = sorted(sizes)
        self._executor = executor
        self._wait_s = wait_s
        self._observe = observe
        self._waiting: asyncio.Queue[tuple[np.ndarray, asyncio.Future[Any]] | None] = asyncio.Queue(capacity)
        self._is_closed = False
        self._task = asyncio.create_task(self._run())

    async def __call__(self, sample: np.ndarray) -> Any:
        if self._is_closed:
            raise Closed
        future = asyncio.get_running_loop().create_future()
        try:
            self._waiting.put_nowait((sample, future))
        except asyncio.QueueFull:
            raise Full from None
        return await future

    async def close(self) -> None:
        """Serve what waits, then stop."""
        if not self._is_closed:
            self._is_closed = True
            await self._waiting.put(None)
        await self._task

    async def _run(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = await self._gathered()
            wanted = [(sample, future) for sample, future in batch if not future.cancelled()]
            if not wanted:
                continue
            self._observe(len(wanted))
            samples = [sample for sample, _ in wanted]
            try:
                loop = asyncio.get_running_loop()
                results = await loop.run_in_executor(self._executor, self._computed, samples)
            except Exception as error:
                results = [error] * len(wanted)
            for (_, future), result in zip(wanted, results, strict=True):
                if future.cancelled():
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)

    async def _gathered(self) -> tuple[list[tuple[np.ndarray, asyncio.Future[Any]]], bool]:
        """A batch, and False if there will be no other."""
        item = await self._waiting.get()
        batch = []
        try:
            async with asyncio.timeout(self._wait_s):
                while item is not None:
                    batch.append(item)
                    if len(batch) == self._sizes[-1]:
                        return batch, True
                    item = await self._waiting.get()
                return batch, False
        except TimeoutError:
            return batch, True

    def _computed(self, samples: Sequence[np.ndarray]) -> list[np.ndarray]:
        size = next(size for size in self._sizes if size >= len(samples))
        batch = np.zeros((size, *samples[0].shape), samples[0].dtype)
        batch[: len(samples)] = samples
        return list(np.asarray(self._call(batch))[: len(samples)])
