"""What a graph of cuDNN's means: cudnn-frontend's own JSON of it, interpreted on NumPy arrays in double precision."""

from __future__ import annotations

import itertools
import json
import math
import struct

import numpy as np


def interpreted(texts, arrays):
    """The flat memory of all that the graphs make one after another, by uid, given that of their operands."""
    memory = dict(arrays)
    for text in texts:
        memory |= _run(json.loads(text), memory)
    return memory


def _run(graph, memory):
    tensors = {t["uid"]: t for t in graph["tensors"]}
    values, made = {}, {}
    for uid, tensor in tensors.items():
        if tensor["is_pass_by_value"]:
            values[uid] = np.full(tensor["dim"], _number(tensor["pass_by_value"]["value"]))
        elif uid in memory:
            values[uid] = _read(tensor, memory[uid])
    for node in graph["nodes"]:
        inputs = {name: values[uid] for name, uid in node["inputs"].items()}
        outputs = node["outputs"]
        results = _NODES[node["tag"]](node, inputs, tuple(tensors[next(iter(outputs.values()))]["dim"]))
        results = results if isinstance(results, dict) else dict.fromkeys(outputs, results)
        for name, uid in outputs.items():
            values[uid] = results[name]
            assert values[uid].shape == tuple(tensors[uid]["dim"]), node["tag"]
            made[uid] = _written(tensors[uid], values[uid])
    return made


def _number(text):
    """A number of single precision, which this JSON holds as its bits."""
    (number,) = struct.unpack(">f", bytes.fromhex(text))
    return number


def _optional(text, default):
    return default if text is None else _number(text)


def _read(tensor, array):
    """The tensor's elements in the order of its dimensions."""
    flat = np.asarray(array, np.float64).reshape(-1)
    return flat[_places(tensor["dim"], tensor["stride"])]


def _written(tensor, value):
    places = _places(tensor["dim"], tensor["stride"])
    assert sorted(places.reshape(-1)) == list(range(places.size)), "the result's memory is not dense"
    flat = np.empty(places.size)
    flat[places] = value
    return flat


def _places(dims, strides):
    return sum(
        (
            np.arange(n).reshape([-1 if i == d else 1 for i in range(len(dims))]) * s
            for d, (n, s) in _each(dims, strides)
        ),
        np.zeros(dims, np.int64),
    )


def _each(dims, strides):
    return enumerate(zip(dims, strides, strict=True))


def _taps(node, kernel, result, padded):
    """For each tap of a kernel, the part of the padded source that it meets."""
    for tap in itertools.product(*map(range, kernel)):
        window = [slice(None), slice(None)]
        for at, gap, step, count, size in zip(tap, node["dilation"], node["stride"], result, padded, strict=True):
            first, last = at * gap, at * gap + (count - 1) * step
            assert last < size, "the window leaves the source"
            window.append(slice(first, last + 1, step))
        yield (slice(None), slice(None), *tap), tuple(window)


def _padded(node, sizes):
    assert node["math_mode"] == "CROSS_CORRELATION"
    pads = list(zip(node["pre_padding"], node["post_padding"], strict=True))
    return [low + n + high for n, (low, high) in zip(sizes, pads, strict=True)], [(0, 0), (0, 0), *pads]


def _grouped(array, groups, axis):
    return array.reshape(*array.shape[:axis], groups, -1, *array.shape[axis + 1 :])


def _fprop(node, inputs, dims):
    x, w = inputs["X"], inputs["W"]
    groups = x.shape[1] // w.shape[1]
    sizes, pads = _padded(node, x.shape[2:])
    x, y = np.pad(x, pads), np.zeros((dims[0], groups, dims[1] // groups, *dims[2:]))
    # One more step does not fit: the library computes these very sizes from padding, stride and dilation.
    assert all(
        (size - (k - 1) * gap - 1) // step + 1 == count
        for size, k, gap, step, count in zip(
            sizes, w.shape[2:], node["dilation"], node["stride"], dims[2:], strict=True
        )
    )
    for tap, window in _taps(node, w.shape[2:], dims[2:], sizes):
        y += np.einsum("ngc...,gkc->ngk...", _grouped(x[window], groups, 1), _grouped(w[tap], groups, 0))
    return y.reshape(dims)


def _dgrad(node, inputs, dims):
    dy, w = inputs["DY"], inputs["W"]
    groups = dims[1] // w.shape[1]
    sizes, pads = _padded(node, dims[2:])
    dx = np.zeros((*dims[:2], *sizes))
    for tap, window in _taps(node, w.shape[2:], dy.shape[2:], sizes):
        part = np.einsum("ngk...,gkc->ngc...", _grouped(dy, groups, 1), _grouped(w[tap], groups, 0))
        dx[window] += part.reshape(dx[window].shape)
    return dx[
        (slice(None), slice(None), *(slice(low, low + n) for n, (low, _) in zip(dims[2:], pads[2:], strict=True)))
    ]


def _wgrad(node, inputs, dims):
    dy, x = inputs["DY"], inputs["X"]
    groups = x.shape[1] // dims[1]
    sizes, pads = _padded(node, x.shape[2:])
    x, dw = np.pad(x, pads), np.empty(dims)
    for tap, window in _taps(node, dims[2:], dy.shape[2:], sizes):
        left, right = (_grouped(a.reshape(*a.shape[:2], -1), groups, 1) for a in (dy, x[window]))
        part = np.einsum("ngks,ngcs->gkc", left, right)
        dw[tap] = part.reshape(dims[:2])
    return dw


def _relu(node, x):
    low, slope = _optional(node["relu_lower_clip"], 0.0), _optional(node["relu_lower_clip_slope"], 0.0)
    high = _optional(node["relu_upper_clip"], math.inf)
    return np.where(x > high, high, np.where(x < low, low + slope * (x - low), x))


def _elu(node, x):
    return np.where(x > 0, x, _optional(node["elu_alpha"], 1.0) * np.expm1(x))


_erf = np.vectorize(math.erf, otypes=[float])
_UNARY = {
    "RELU_FWD": _relu,
    "ELU_FWD": _elu,
    "TANH_FWD": lambda node, x: np.tanh(x),
    "SIGMOID_FWD": lambda node, x: 1 / (1 + np.exp(-x)),
    "SWISH_FWD": lambda node, x: x / (1 + np.exp(-x)),
    "SOFTPLUS_FWD": lambda node, x: np.logaddexp(x, 0),
    "GELU_FWD": lambda node, x: x / 2 * (1 + _erf(x / math.sqrt(2))),
    "GELU_APPROX_TANH_FWD": lambda node, x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "EXP": lambda node, x: np.exp(x),
    "LOG": lambda node, x: np.log(x),
    "SQRT": lambda node, x: np.sqrt(x),
    "RSQRT": lambda node, x: 1 / np.sqrt(x),
    "NEG": lambda node, x: -x,
    "ABS": lambda node, x: np.abs(x),
    "ERF": lambda node, x: _erf(x),
}
_BINARY = {
    "ADD": np.add,
    "SUB": np.subtract,
    "MUL": np.multiply,
    "DIV": np.divide,
    "MAX": np.maximum,
    "MIN": np.minimum,
    "RELU_BWD": lambda dy, x: np.where(x > 0, dy, 0),
}


def _pointwise(node, inputs, dims):
    if node["mode"] in _BINARY:
        return np.broadcast_to(_BINARY[node["mode"]](inputs["IN_0"], inputs["IN_1"]), dims)
    return np.broadcast_to(_UNARY[node["mode"]](node, inputs["IN_0"]), dims)


def _resample(node, inputs, dims):
    x, spatial = inputs["X"], len(dims) - 2
    # Numbers of windows are fractions in this JSON.
    numbers = {name: [_whole(n) for n in node[name]] for name in ("window", "stride", "pre_padding", "post_padding")}
    pads = [(0, 0), (0, 0), *zip(numbers["pre_padding"], numbers["post_padding"], strict=True)]
    is_max = node["resample_mode"] == "MAXPOOL"
    filled = np.pad(x, pads, constant_values=-np.inf if is_max else 0.0)
    inside = np.pad(np.ones(x.shape), pads)
    y = np.empty(dims)
    for place in itertools.product(*map(range, dims[2:])):
        spans = zip(place, numbers["stride"], numbers["window"], strict=True)
        window = (slice(None), slice(None), *(slice(p * s, p * s + n) for p, s, n in spans))
        axes = tuple(range(2, 2 + spatial))
        count = inside[window].sum(axes) if "EXCLUDE" in node["resample_mode"] else math.prod(numbers["window"])
        y[(slice(None), slice(None), *place)] = filled[window].max(axes) if is_max else filled[window].sum(axes) / count
    return y


def _whole(fraction):
    if isinstance(fraction, dict):
        return fraction["numerator"] // fraction["denominator"]
    return fraction[0] // fraction[1] if isinstance(fraction, list) else fraction


def _layer_norm(node, inputs, dims):
    x = inputs["X"]
    mean = x.mean(1, keepdims=True)
    inverse = 1 / np.sqrt(((x - mean) ** 2).mean(1, keepdims=True) + inputs["EPSILON"])
    y = (x - mean) * inverse * inputs["SCALE"] + inputs["BIAS"]
    return {"Y": y, "MEAN": mean, "INV_VARIANCE": inverse}


def _rms_norm(node, inputs, dims):
    x = inputs["X"]
    inverse = 1 / np.sqrt((x**2).mean(1, keepdims=True) + inputs["EPSILON"])
    return {"Y": x * inverse * inputs["SCALE"], "INV_VARIANCE": inverse}


def _norm_backward(node, inputs, dims):
    mean = inputs.get("MEAN", 0.0)
    normalised = (inputs["X"] - mean) * inputs["INV_VARIANCE"]
    by_normalised = inputs["DY"] * inputs["SCALE"]
    along = (by_normalised * normalised).mean(1, keepdims=True) * normalised
    if "MEAN" in inputs:
        along = along + by_normalised.mean(1, keepdims=True)
    return {
        "DX": (by_normalised - along) * inputs["INV_VARIANCE"],
        "DSCALE": (inputs["DY"] * normalised).sum(0, keepdims=True),
        "DBIAS": inputs["DY"].sum(0, keepdims=True),
    }


_PIXELS = (0, 2, 3)


def _batch_norm(node, inputs, dims):
    x = inputs["X"]
    mean = x.mean(_PIXELS, keepdims=True)
    inverse = 1 / np.sqrt(((x - mean) ** 2).mean(_PIXELS, keepdims=True) + inputs["EPSILON"])
    return {"Y": (x - mean) * inverse * inputs["SCALE"] + inputs["BIAS"], "MEAN": mean, "INV_VARIANCE": inverse}


def _batch_norm_backward(node, inputs, dims):
    normalised = (inputs["X"] - inputs["MEAN"]) * inputs["INV_VARIANCE"]
    by_normalised = inputs["DY"] * inputs["SCALE"]
    along = (by_normalised * normalised).mean(_PIXELS, keepdims=True) * normalised
    return {
        "DX": (by_normalised - along - by_normalised.mean(_PIXELS, keepdims=True)) * inputs["INV_VARIANCE"],
        "DSCALE": (inputs["DY"] * normalised).sum(_PIXELS, keepdims=True),
        "DBIAS": inputs["DY"].sum(_PIXELS, keepdims=True),
    }


def _scores(node, inputs):
    scores = np.einsum("bhqd,bhkd->bhqk", inputs["Q"], inputs["K"]) * _number(node["attn_scale_value"])
    scores = scores + inputs.get("Bias", 0.0)
    if node["right_bound"] is None:
        return scores
    assert node["right_bound"] == 0 and node["diagonal_alignment"] == "TOP_LEFT" and node["left_bound"] is None
    return np.where(np.tril(np.ones(scores.shape[2:], bool)), scores, -np.inf)


def _sdpa(node, inputs, dims):
    scores = _scores(node, inputs)
    largest = scores.max(-1, keepdims=True)
    sums = np.exp(scores - largest).sum(-1, keepdims=True)
    return {
        "O": np.einsum("bhqk,bhkd->bhqd", np.exp(scores - largest) / sums, inputs["V"]),
        "Stats": largest + np.log(sums),
    }


def _sdpa_backward(node, inputs, dims):
    q, k, v, o, do = (inputs[name] for name in ("Q", "K", "V", "O", "dO"))
    weights = np.exp(_scores(node, inputs) - inputs["Stats"])
    by_weights = np.einsum("bhqd,bhkd->bhqk", do, v)
    by_scores = weights * (by_weights - (do * o).sum(-1, keepdims=True)) * _number(node["attn_scale_value"])
    return {
        "dQ": np.einsum("bhqk,bhkd->bhqd", by_scores, k),
        "dK": np.einsum("bhqk,bhqd->bhkd", by_scores, q),
        "dV": np.einsum("bhqk,bhqd->bhkd", weights, do),
    }


_NODES = {
    "CONV_FPROP": _fprop,
    "CONV_DGRAD": _dgrad,
    "CONV_WGRAD": _wgrad,
    "POINTWISE": _pointwise,
    "RESAMPLE": _resample,
    "LAYER_NORM": _layer_norm,
    "RMS_NORM": _rms_norm,
    "BATCHNORM": _batch_norm,
    "DBN": _batch_norm_backward,
    "LAYER_NORM_BPROP": _norm_backward,
    "RMS_NORM_BPROP": _norm_backward,
    "SDPA": _sdpa,
    "SDPA_BWD": _sdpa_backward,
}
