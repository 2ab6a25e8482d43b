"""OpenVINO on the model that it makes of the PyTorch module."""

from collections.abc import Callable

import numpy as np
import openvino
from networks import Network

from .child import THREADS
from .torch_networks import TorchNetwork, input_of, output_of


def compiled(network: Network, batch: int) -> Callable[[], np.ndarray]:
    """Tuned for the latency of one call, in float32."""
    x = input_of(network, batch)
    model = openvino.convert_model(TorchNetwork(network).eval(), example_input=x, input=list(x.shape))
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": THREADS, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.compile_model(model, "CPU", config).create_infer_request()
    inputs = {0: x.numpy()}
    return lambda: output_of(request.infer(inputs, share_inputs=True, share_outputs=True)[0])
