"""The example of an inference server: right answers under load, refusals, and an orderly end."""

from __future__ import annotations

import asyncio
import importlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO

import click
import jax.numpy as jnp
import numpy as np
import pytest
from api_fakes import use_fake
from placing import on_kernels
from serving.batching import Batcher, Closed, Full

import collage_jax
from collage_jax.calls import deciding

uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed; pip install '.[serve]'")
httpx = pytest.importorskip("httpx", reason="httpx is not installed; pip install '.[serve]'")
for package in ("fastapi", "prometheus_client"):
    pytest.importorskip(package, reason=f"{package} is not installed; pip install '.[serve]'")
app_of, load = importlib.import_module("serving.app").app_of, importlib.import_module("serving.load")

W = jnp.linspace(-1, 1, 24, dtype=jnp.float32).reshape(6, 4)
SIZES = (1, 2, 4)


def layer(w, x):
    return jnp.tanh(x @ w)


@pytest.fixture(scope="module")
def engines():
    with pytest.MonkeyPatch.context() as patch:
        fake = use_fake(patch, packs=True)
        patch.setattr(deciding, "_in_worker", lambda call, problem, settings, pinned=None: on_kernels(problem, [fake]))
        return loaded()


def loaded():
    decorated = collage_jax.jit(layer, frozen_argnums=0)
    sets = [(W, jnp.ones((size, 6))) for size in SIZES]
    data = collage_jax.export(decorated, *sets[0], also=sets[1:]).serialize()
    with collage_jax.disabled():
        plain = collage_jax.load(data)
    return {"kernels": collage_jax.load(data), "xla": plain}


@contextmanager
def served(app):
    """The address of a server in a thread of this process; ends in an orderly way."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", server
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def body(array):
    written = BytesIO()
    np.save(written, array)
    return written.getvalue()


def test_it_answers_a_load_rightly_and_counts_it(engines):
    with served(app_of(engines)) as (url, _):
        outcomes = asyncio.run(load.loaded(url, list(engines), clients=8, seconds=30, phase_s=0.2, requests=60))
        health = httpx.get(f"{url}/healthz", trust_env=False).json()
        metrics = httpx.get(f"{url}/metrics", trust_env=False).text
    assert health["engines"] == {"kernels": True, "xla": False} and health["batch_sizes"] == list(SIZES)
    answers = {name: outcome.summary()["answers"] for name, outcome in outcomes.items()}
    assert sum(answers.values()) == 60
    assert not any(outcome.errors for outcome in outcomes.values())
    assert f'requests_total{{engine="kernels",status="200"}} {float(answers["kernels"])}' in metrics
    assert "requests_running 0.0" in metrics


@pytest.mark.parametrize(
    ("content", "params", "status", "said"),
    [
        (body(np.ones(6, np.float32)), {}, 200, None),
        (body(np.ones(5, np.float32)), {}, 422, "a sample must be float32[6], got float32[5]"),
        (body(np.ones(6)), {}, 422, "a sample must be float32[6], got float64[6]"),
        (body(np.array([None])), {}, 422, "must be an array in NumPy's format"),
        (b"hello", {}, 422, "must be an array in NumPy's format"),
        (b"", {}, 422, "must be an array in NumPy's format"),
        (b"x" * 5000, {}, 413, "at most"),
        (body(np.ones(6, np.float32)), {"engine": "none"}, 404, "there is no engine 'none'; there are kernels, xla"),
    ],
)
def test_what_is_no_sample_is_refused(engines, content, params, status, said):
    with served(app_of(engines)) as (url, _):
        answer = httpx.post(f"{url}/predict", content=content, params=params, trust_env=False)
    assert answer.status_code == status
    if said is None:
        np.testing.assert_allclose(np.load(BytesIO(answer.content)), layer(W, np.ones(6, np.float32)), rtol=1e-6)
    else:
        assert said in answer.json()["detail"]


def test_what_was_accepted_is_answered_after_the_server_was_told_to_end(engines):
    begun = threading.Event()

    def slowly(batch):
        begun.set()
        time.sleep(0.2)
        return engines["xla"](batch)

    slow = type("Slow", (), {"__call__": staticmethod(slowly)})
    slow.signatures, slow.manifest = engines["xla"].signatures, engines["xla"].manifest
    slow.digest, slow.has_kernels = "", (False,)
    with served(app_of({"slow": slow()})) as (url, server), ThreadPoolExecutor(6) as clients:
        content = body(np.ones(6, np.float32))
        asked = [clients.submit(httpx.post, f"{url}/predict", content=content, trust_env=False) for _ in range(6)]
        begun.wait(10)
        time.sleep(0.1)
        server.should_exit = True
        assert [future.result().status_code for future in asked] == [200] * 6


def test_batches_are_filled_up_and_a_full_queue_refuses(engines):
    seen = []

    def call(batch):
        seen.append(batch.shape[0])
        time.sleep(0.05)
        return batch * 2

    async def go():
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(call, SIZES, executor, wait_s=0.01, capacity=4)
            samples = [np.full(2, i) for i in range(9)]
            results = await asyncio.gather(*map(batcher, samples), return_exceptions=True)
            await batcher.close()
            with pytest.raises(Closed):
                await batcher(samples[0])
        return results

    results = asyncio.run(go())
    answered = [(i, result) for i, result in enumerate(results) if not isinstance(result, Exception)]
    assert all(np.array_equal(result, np.full(2, 2 * i)) for i, result in answered)
    assert all(isinstance(result, (np.ndarray, Full)) for result in results)
    assert len(answered) == 4 and seen == [4]


def test_a_batch_that_fails_fails_its_requests_alone():
    def call(batch):
        if batch[0, 0] == 0:
            raise ValueError("no such sample")
        return batch

    async def go():
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(call, [1], executor)
            with pytest.raises(ValueError, match="no such sample"):
                await batcher(np.zeros(1))
            assert (await batcher(np.ones(1))) == 1
            await batcher.close()

    asyncio.run(go())


def test_the_load_is_for_this_machine_alone():
    with pytest.raises(click.BadParameter, match="must be on this machine"):
        asyncio.run(load.loaded("http://192.0.2.1:80", ["kernels"], 1, 1, 1, 1))
