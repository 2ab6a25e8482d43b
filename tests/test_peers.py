"""What the benchmark against other frameworks says of its rounds; the rounds themselves are no test."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import peers
import pytest
from contenders import CONTENDERS, LIMIT, OURS, jax_training
from contenders.process import Process
from contenders.results import PRODUCT_GFLOP, Result, best_single_peer, geometric_mean, table
from networks.network import Network, Weight


def result(name="bert", batch=1, **seconds):
    seconds = {OURS: [2.0, 2.0, 4.0], "jax": [8.0, 8.0, 8.0], "openvino": [3.0, 3.0, 5.0], **seconds}
    about = {"errors": {OURS: 1e-6}, "peak_bytes": {OURS: 300, "jax": 200}, "ready_s": {}, "failures": {}}
    return Result(name, name.upper(), batch, 10.0, seconds, **about)


def test_ratios_are_taken_within_rounds():
    assert result().ratio("openvino") == pytest.approx((1.375, 1.5, 1.5))
    assert result().ratio("jax")[1] == 4.0
    assert result().best_peer() == "openvino"
    assert "jax" in result().peers() and OURS not in result().peers()


def test_the_share_of_the_limit_counts_the_network_s_own_operations():
    limited = result(**{LIMIT: [0.5, 0.5, 0.5]})
    assert limited.limit_gflops() == pytest.approx(PRODUCT_GFLOP / 0.5)
    assert limited.share_of_limit() == pytest.approx(10.0 / 2.0 / (PRODUCT_GFLOP / 0.5))
    assert LIMIT not in limited.peers()


def test_the_best_single_peer_is_that_of_all_networks_together():
    one = result("bert", openvino=[3.0] * 3, torch=[2.5] * 3)
    other = result("dcgan", openvino=[3.0] * 3, torch=[9.0] * 3)
    best, mean = best_single_peer([one, other])
    assert best == "openvino" and mean == pytest.approx(1.5)
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2.0) and np.isnan(geometric_mean([]))


def test_the_table_has_a_row_for_each_network_and_names_who_failed():
    text = table([result("bert"), result("dcgan", torch=[1.0, 1.0, 1.0])])
    assert text.count("| BERT |") == 1 and "failed" in text
    assert "1.50 (1.38-1.50)" in text and "4.00" in text


def test_a_report_is_made_of_stored_results(tmp_path, capsys, monkeypatch):
    stored, page = tmp_path / "results.json", tmp_path / "table.md"
    stored.write_text(json.dumps([asdict(result("dcgan", batch=8)), asdict(result("bert"))]))
    monkeypatch.setattr("sys.argv", ["peers.py", "--from", str(stored), "--markdown", str(page)])
    peers.main()
    assert capsys.readouterr().out.strip() == page.read_text().strip()
    assert page.read_text().index("Batch 1") < page.read_text().index("Batch 8")


def test_a_contender_that_cannot_run_is_out_with_its_reason(tmp_path):
    process = Process("jax", "no_such_network", 1, tmp_path / "y.npy", tmp_path / "log")
    assert "KeyError" in process.failure and process.seconds(3) == []
    process.close()


def test_a_training_step_is_compared_by_its_loss_and_gradients():
    """Half the sum of (x w)^2 has the gradient x^T x w."""
    weights = (Weight((3, 2), 1.0),)
    network = Network("tiny", "Tiny", lambda w, x: x @ w[0], weights, (3,), (2,), 1e-9)
    x, (w,) = np.float64(network.draw_input(4)), map(np.float64, network.draw())
    loss, length = jax_training.plain(network, 4).figures()
    np.testing.assert_allclose(loss, 0.5 * ((x @ w) ** 2).sum(), rtol=1e-5)
    np.testing.assert_allclose(length, np.linalg.norm(x.T @ x @ w), rtol=1e-5)


def test_every_contender_says_what_it_needs():
    assert all(":" in contender.build for contender in CONTENDERS.values())
    assert CONTENDERS[OURS].task(True) == "jax_training:placed" and not CONTENDERS["openvino"].task(True)
    assert not CONTENDERS[OURS].requires and "torch" in CONTENDERS["torch"].requires
