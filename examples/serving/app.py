"""The HTTP side: samples and results as arrays in NumPy's format."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from io import BytesIO

import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

import collage_jax
from serving.batching import Batcher, Closed, Full

#: Of NumPy's format, before the numbers.
HEADER_BYTES = 1024
LATENCIES_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


def app_of(engines: Mapping[str, collage_jax.Loaded], wait_s: float = 0.002, capacity: int = 256) -> FastAPI:
    """The server of one function by its ``engines``: what was loaded with kernels, and beside it what XLA alone runs.

    The function takes one array and returns one; its signatures differ in the first dimension, the batch.
    """
    first = next(iter(engines.values()))
    shapes = [args[0] for args, _ in first.signatures]
    sizes = sorted(shape.shape[0] for shape in shapes)
    sample = shapes[0].shape[1:], np.dtype(shapes[0].dtype)
    limit = int(np.prod(sample[0])) * sample[1].itemsize + HEADER_BYTES
    registry = CollectorRegistry()
    requests = Counter("requests", "Requests by engine and status.", ["engine", "status"], registry=registry)
    latency = Histogram(
        "request_seconds", "From the body to the result.", ["engine"], registry=registry, buckets=LATENCIES_S
    )
    batches = Histogram("batch_samples", "Samples in a batch.", ["engine"], registry=registry, buckets=sizes)
    running = Gauge("requests_running", "Requests that wait or are computed.", registry=registry)
    batchers: dict[str, Batcher] = {}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # One thread for all: kernels have the threads of the whole machine.
        with ThreadPoolExecutor(1) as executor:
            for name, loaded in engines.items():
                observe = batches.labels(name).observe
                batchers[name] = Batcher(loaded, sizes, executor, wait_s, capacity, observe)
            yield
            for batcher in batchers.values():
                await batcher.close()

    app = FastAPI(title=first.manifest.name, lifespan=lifespan)

    @app.get("/healthz")
    def healthz() -> dict[str, object]:
        return {
            "status": "ok",
            "function": first.manifest.name,
            "digest": first.digest,
            "engines": {name: any(loaded.has_kernels) for name, loaded in engines.items()},
            "batch_sizes": sizes,
            "sample": {"shape": sample[0], "dtype": sample[1].name},
        }

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.post("/predict")
    async def predict(request: Request, engine: str = next(iter(engines))) -> Response:
        if engine not in batchers:
            raise HTTPException(404, f"there is no engine {engine!r}; there are {', '.join(batchers)}")
        begin = time.perf_counter()
        status = 500
        try:
            with running.track_inprogress():
                result = await batchers[engine](await _sample(request, limit, *sample))
            status = 200
        except HTTPException as refused:
            status = refused.status_code
            raise
        except Full:
            status = 503
            raise HTTPException(status, "too many requests wait", {"Retry-After": "1"}) from None
        except Closed:
            status = 503
            raise HTTPException(status, "the server is shutting down", {"Connection": "close"}) from None
        finally:
            requests.labels(engine, status).inc()
            latency.labels(engine).observe(time.perf_counter() - begin)
        written = BytesIO()
        np.save(written, result, allow_pickle=False)
        return Response(written.getvalue(), media_type="application/octet-stream")

    return app


async def _sample(request: Request, limit: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The array in the body; 413 for one that is too large, 422 for anything else than an array of that type."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise HTTPException(413, f"the body must have at most {limit} bytes: one sample {dtype}{list(shape)}")
    try:
        sample = np.load(BytesIO(body), allow_pickle=False)
    except Exception as error:  # whatever a broken header makes NumPy raise
        raise HTTPException(422, f"the body must be an array in NumPy's format: {error}") from None
    if not isinstance(sample, np.ndarray) or sample.shape != shape or sample.dtype != dtype:
        got = f"{sample.dtype}{list(sample.shape)}" if isinstance(sample, np.ndarray) else type(sample).__name__
        raise HTTPException(422, f"a sample must be {dtype}{list(shape)}, got {got}")
    return sample
