"""What TensorRT's layers mean, in NumPy, as its documentation describes them: networks are walked layer by layer.

``FakeModule`` stands in for the package where engines are run: it "loads" an engine by the network that it was built
from, and runs it on the addresses that it is given.
"""

from __future__ import annotations

import ctypes
from itertools import product
from math import erf, prod

import ml_dtypes
import numpy as np

_ERF = np.vectorize(erf, otypes=[np.float64])

_DTYPES = {
    "FLOAT": np.dtype(np.float32),
    "HALF": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "INT32": np.dtype(np.int32),
    "BOOL": np.dtype(np.bool_),
}


def dtype_of(tensor):
    return _DTYPES[tensor.dtype.name]


def interpret(module, definition, inputs):
    """The outputs of a network for ``inputs``, both by name."""
    values = dict(inputs)
    for i in range(definition.num_layers):
        layer = definition.get_layer(i)
        kind = layer.type.name
        layer.__class__ = getattr(module, _CLASSES[kind])  # the package gives the base class
        tensors = [layer.get_input(k) for k in range(layer.num_inputs)]
        operands = [None if t is None else values[t.name] for t in tensors]
        result = layer.get_output(0)
        with np.errstate(all="ignore"):
            made = np.asarray(_LAYERS[kind](layer, *operands)).astype(dtype_of(result))
        assert made.shape == tuple(result.shape), (kind, made.shape, tuple(result.shape))
        values[result.name] = made
    outputs = [definition.get_output(i) for i in range(definition.num_outputs)]
    return {tensor.name: values[tensor.name] for tensor in outputs}


def kinds(definition):
    """The kinds of layers, in order."""
    return [definition.get_layer(i).type.name for i in range(definition.num_layers)]


def _wide(x):
    return x.astype(np.float64)


def _shuffle(layer, x):
    first, second = (list(p)[:n] for p, n in ((layer.first_transpose, x.ndim), (layer.second_transpose, 8)))
    shape = tuple(layer.get_output(0).shape)
    assert second[: len(shape)] == list(range(len(shape)))
    return x.transpose(first).reshape(shape)


def _slice(layer, x, start=None, shape=None, stride=None, fill=None):  # only the last may be a tensor here
    index, inside = [], []
    for begin, count, step, size in zip(layer.start, layer.shape, layer.stride, x.shape, strict=True):
        places = begin + step * np.arange(count)
        index.append(places.clip(0, size - 1))
        inside.append((places >= 0) & (places < size))
    taken, held = x[np.ix_(*index)] if index else x, np.ones(tuple(layer.shape), bool)
    for axis, flags in enumerate(inside):
        held &= flags.reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    if layer.mode.name == "FILL":
        return np.where(held, taken, 0 if fill is None else fill)
    assert layer.mode.name == "STRICT_BOUNDS" and held.all(), "a slice leaves the array"
    return taken


_ELEMENTWISE = {
    "SUM": np.add,
    "SUB": np.subtract,
    "PROD": np.multiply,
    "DIV": np.divide,
    "MAX": np.maximum,
    "MIN": np.minimum,
    "POW": np.power,
    "EQUAL": np.equal,
    "GREATER": np.greater,
    "LESS": np.less,
    "AND": np.logical_and,
    "OR": np.logical_or,
    "XOR": np.logical_xor,
}


def _elementwise(layer, x, y):
    assert x.ndim == y.ndim and x.dtype == y.dtype, (x.shape, y.shape, x.dtype, y.dtype)
    return _ELEMENTWISE[layer.op.name](x, y)


_UNARY = {
    "ABS": np.abs,
    "ACOS": np.arccos,
    "ACOSH": np.arccosh,
    "ASIN": np.arcsin,
    "ASINH": np.arcsinh,
    "ATAN": np.arctan,
    "ATANH": np.arctanh,
    "CEIL": np.ceil,
    "COS": np.cos,
    "COSH": np.cosh,
    "ERF": _ERF,
    "EXP": np.exp,
    "FLOOR": np.floor,
    "LOG": np.log,
    "NEG": np.negative,
    "NOT": np.logical_not,
    "RECIP": np.reciprocal,
    "ROUND": np.round,
    "SIGN": np.sign,
    "SIN": np.sin,
    "SINH": np.sinh,
    "SQRT": np.sqrt,
    "TAN": np.tan,
}


def _unary(layer, x):
    return _UNARY[layer.op.name](x if x.dtype in (np.bool_, np.int32) else _wide(x))


def _activation(layer, x):
    x, alpha, beta = _wide(x), layer.alpha, layer.beta
    return {
        "RELU": lambda: np.maximum(x, 0),
        "SIGMOID": lambda: 1 / (1 + np.exp(-x)),
        "TANH": lambda: np.tanh(x),
        "LEAKY_RELU": lambda: np.where(x >= 0, x, alpha * x),
        "ELU": lambda: np.where(x >= 0, x, alpha * (np.exp(x) - 1)),
        "SOFTPLUS": lambda: alpha * np.logaddexp(beta * x, 0),
        "HARD_SIGMOID": lambda: np.clip(alpha * x + beta, 0, 1),
        "GELU_ERF": lambda: 0.5 * x * (1 + _ERF(x * 0.5**0.5)),
        "GELU_TANH": lambda: 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))),
    }[layer.type.name]()


def _members(mask, count):
    assert 0 < mask < 1 << count
    return tuple(axis for axis in range(count) if mask >> axis & 1)


def _reduce(layer, x):
    made = {"SUM": np.sum, "PROD": np.prod, "MAX": np.max, "MIN": np.min, "AVG": np.mean}[layer.op.name]
    return made(x if x.dtype == np.int32 else _wide(x), _members(layer.axes, x.ndim), keepdims=layer.keep_dims)


def _softmax(layer, x):
    (axis,) = _members(layer.axes, x.ndim)
    powers = np.exp(_wide(x) - _wide(x).max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def _normalization(layer, x, scale, shift):
    axes = _members(layer.axes, x.ndim)
    assert layer.num_groups == 1 and scale.ndim == shift.ndim == x.ndim
    centred = _wide(x) - _wide(x).mean(axes, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axes, keepdims=True) + layer.epsilon) * _wide(scale) + _wide(shift)


def _matrix_multiply(layer, x, y):
    assert layer.op0.name == layer.op1.name == "NONE" and x.ndim == y.ndim
    return _wide(x) @ _wide(y)


def _windows(x, window, strides, gaps, low, high, fill):
    """For each place in the window, what it meets; ``x`` is N, C, spatial dimensions."""
    padded = np.pad(_wide(x), [(0, 0), (0, 0), *zip(low, high, strict=True)], constant_values=fill)
    reach = [(k - 1) * g + 1 for k, g in zip(window, gaps, strict=True)]
    counts = [(n - r) // s + 1 for n, r, s in zip(padded.shape[2:], reach, strides, strict=True)]
    for place in product(*map(range, window)):
        begins = [p * g for p, g in zip(place, gaps, strict=True)]
        cut = [slice(b, b + (c - 1) * s + 1, s) for b, c, s in zip(begins, counts, strides, strict=True)]
        yield place, padded[(slice(None), slice(None), *cut)]


def _convolution(layer, x, kernel):
    groups, outputs = layer.num_groups, layer.num_output_maps
    assert tuple(layer.kernel_size_nd) == kernel.shape[2:] and kernel.shape[:2] == (outputs, x.shape[1] // groups)
    total = 0
    for place, met in _windows(
        x, kernel.shape[2:], layer.stride_nd, layer.dilation_nd, layer.pre_padding, layer.post_padding, 0
    ):
        taps = _wide(kernel[(slice(None), slice(None), *place)])
        parts = zip(np.split(met, groups, 1), np.split(taps, groups, 0), strict=True)
        total = total + np.concatenate([np.einsum("nc...,oc->no...", m, t) for m, t in parts], 1)
    return total


def _deconvolution(layer, x, kernel):
    groups, outputs = layer.num_groups, layer.num_output_maps
    assert tuple(layer.kernel_size_nd) == kernel.shape[2:] and kernel.shape[:2] == (x.shape[1], outputs // groups)
    spatial = list(zip(x.shape[2:], kernel.shape[2:], layer.stride_nd, layer.dilation_nd, strict=True))
    full = np.zeros((x.shape[0], outputs, *((n - 1) * s + (k - 1) * g + 1 for n, k, s, g in spatial)))
    for place in product(*map(range, kernel.shape[2:])):
        taps = _wide(kernel[(slice(None), slice(None), *place)])
        parts = zip(np.split(_wide(x), groups, 1), np.split(taps, groups, 0), strict=True)
        spread = np.concatenate([np.einsum("nc...,co->no...", m, t) for m, t in parts], 1)
        cut = [slice(p * g, p * g + (n - 1) * s + 1, s) for p, (n, _, s, g) in zip(place, spatial, strict=True)]
        full[(slice(None), slice(None), *cut)] += spread
    kept = [slice(b, n - e) for b, e, n in zip(layer.pre_padding, layer.post_padding, full.shape[2:], strict=True)]
    return full[(slice(None), slice(None), *kept)]


def _pooling(layer, x):
    window, ones = tuple(layer.window_size_nd), (1,) * (x.ndim - 2)
    sides = (layer.stride_nd, ones, layer.pre_padding, layer.post_padding)
    if layer.type.name == "MAX":
        return np.max([met for _, met in _windows(x, window, *sides, -np.inf)], 0)
    counted = np.sum([met for _, met in _windows(np.ones(x.shape), window, *sides, 0)], 0)
    total = np.sum([met for _, met in _windows(x, window, *sides, 0)], 0)
    return total / (counted if layer.average_count_excludes_padding else prod(window))


def _resize(layer, x):
    assert layer.resize_mode.name == "NEAREST" and layer.nearest_rounding.name == "FLOOR"
    assert layer.coordinate_transformation.name == "ASYMMETRIC"
    return x[np.ix_(*[np.arange(wide) * n // wide for n, wide in zip(x.shape, layer.shape, strict=True)])]


def _concatenation(layer, *parts):
    return np.concatenate(parts, layer.axis)


_LAYERS = {
    "CONSTANT": lambda layer: np.asarray(layer.weights).reshape(tuple(layer.shape)),
    "CAST": lambda layer, x: x,  # what a layer makes is brought to the type of its result
    "IDENTITY": lambda layer, x: x,
    "SHUFFLE": _shuffle,
    "SLICE": _slice,
    "ELEMENTWISE": _elementwise,
    "UNARY": _unary,
    "ACTIVATION": _activation,
    "SELECT": lambda layer, which, yes, no: np.where(which, yes, no),
    "CONCATENATION": _concatenation,
    "REDUCE": _reduce,
    "SOFTMAX": _softmax,
    "NORMALIZATION": _normalization,
    "MATRIX_MULTIPLY": _matrix_multiply,
    "CONVOLUTION": _convolution,
    "DECONVOLUTION": _deconvolution,
    "POOLING": _pooling,
    "RESIZE": _resize,
}

_CLASSES = {kind: f"I{kind.title()}Layer" for kind in _LAYERS} | {
    "ELEMENTWISE": "IElementWiseLayer",
    "SOFTMAX": "ISoftMaxLayer",
    "MATRIX_MULTIPLY": "IMatrixMultiplyLayer",
}


class FakeModule:
    """The package itself, but for running: an engine is its network, interpreted. ``networks`` has them by engine."""

    def __init__(self, module):
        self.networks = {}
        self.streams = []
        self._module = module

    def __getattr__(self, name):
        return getattr(self._module, name)

    def Runtime(self, logger):
        return _Runtime(self)


class _Runtime:
    def __init__(self, owner):
        self._owner = owner

    def deserialize_cuda_engine(self, plan):
        network = self._owner.networks.get(plan)
        return None if network is None else _Engine(self._owner, network.definition)


class _Engine:
    def __init__(self, owner, definition):
        self.owner, self.definition = owner, definition
        self.inputs = [definition.get_input(i) for i in range(definition.num_inputs)]
        self.outputs = [definition.get_output(i) for i in range(definition.num_outputs)]
        self.tensors = {tensor.name: tensor for tensor in (*self.inputs, *self.outputs)}
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, i):
        return list(self.tensors)[i]

    def get_tensor_dtype(self, name):
        return self.tensors[name].dtype

    def get_tensor_shape(self, name):
        return self.tensors[name].shape

    def create_execution_context(self):
        return _Context(self)


class _Context:
    def __init__(self, engine):
        self._engine, self._addresses = engine, {}

    def set_tensor_address(self, name, address):
        self._addresses[name] = address
        return name in self._engine.tensors

    def execute_async_v3(self, stream):
        engine = self._engine
        engine.owner.streams.append(stream)
        inputs = {tensor.name: self._view(tensor).copy() for tensor in engine.inputs}
        for name, made in interpret(engine.owner, engine.definition, inputs).items():
            self._view(engine.tensors[name])[...] = made
        return True

    def _view(self, tensor):
        dtype, shape = dtype_of(tensor), tuple(tensor.shape)
        memory = (ctypes.c_char * (prod(shape) * dtype.itemsize)).from_address(self._addresses[tensor.name])
        return np.frombuffer(memory, dtype).reshape(shape)
