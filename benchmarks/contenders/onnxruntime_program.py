"""ONNX Runtime on the model that PyTorch exports."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from networks import Network

from .child import THREADS
from .torch_networks import TorchNetwork, input_of, output_of


def session(network: Network, batch: int) -> Callable[[], np.ndarray]:
    """All graph optimizations, the CPU provider, inputs and outputs in its own memory."""
    module, x = TorchNetwork(network).eval(), input_of(network, batch)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.onnx"
        torch.onnx.export(module, (x,), path, input_names=["x"], output_names=["y"], verbose=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        runner = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    x = onnxruntime.OrtValue.ortvalue_from_numpy(x.numpy())
    return lambda: output_of(runner.run_with_ort_values(["y"], {"x": x})[0].numpy())
