"""The networks in PyTorch, channels first: the same functions of the same weights."""

from collections.abc import Callable
from functools import partial

import networks.bert as bert_sizes
import networks.dcgan as dcgan_sizes
import networks.nasnet as nasnet_sizes
import networks.resnet as resnet_sizes
import numpy as np
import torch
import torch.nn.functional as F
from networks import Network
from torch import Tensor, nn

CONVS = {4: F.conv2d, 5: F.conv3d}


def conv(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, groups: int = 1) -> Tensor:
    """Padding keeps the size at stride 1, as everywhere in these networks."""
    return CONVS[weight.ndim](x, weight, bias, stride, weight.shape[-1] // 2, 1, groups)


def layer_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """By the unbiased deviation, with epsilon outside the root."""
    return scale * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6) + shift


def bert(params: list[Tensor], x: Tensor) -> Tensor:
    """`(batch, 64, 256)` to the same."""
    for first in range(0, len(params), 16):
        wq, bq, wk, bk, wv, bv, wo, bo, w1, b1, w2, b2, scale1, shift1, scale2, shift2 = params[first : first + 16]
        n = layer_norm(x, scale1, shift1)
        heads = (
            F.linear(n, w, b).unflatten(-1, (bert_sizes.HEADS, -1)).transpose(1, 2)
            for w, b in ((wq, bq), (wk, bk), (wv, bv))
        )
        joined = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        x = x + F.linear(joined, wo, bo)
        n = layer_norm(x, scale2, shift2)
        x = x + F.linear(F.relu(F.linear(n, w1, b1)), w2, b2)
    return x


def dcgan(params: list[Tensor], z: Tensor) -> Tensor:
    """`(batch, 100)` to `(batch, 1)`."""
    (w_in, b_in), *convs, (w_out, b_out) = zip(params[::2], params[1::2], strict=True)
    x = F.linear(z, w_in, b_in).unflatten(-1, (dcgan_sizes.CHANNELS, dcgan_sizes.SIDE, dcgan_sizes.SIDE))
    for weight, shift in convs[:2]:
        x = F.relu(conv(F.interpolate(x, scale_factor=2), weight, shift))
    x = torch.tanh(conv(x, *convs[2]))
    for weight, shift in convs[3:]:
        x = F.relu(conv(x, weight, shift, stride=2))
    return torch.sigmoid(F.linear(x.flatten(1), w_out, b_out))


def nasnet_a(params: list[Tensor], x: Tensor) -> Tensor:
    """`(batch, 64, 56, 56)` to `(batch, 1280, 14, 14)`."""
    size = nasnet_sizes.TENSORS_PER_CELL
    cells = [params[i : i + size] for i in range(0, len(params), size)]
    count = len(nasnet_sizes.STAGES) * nasnet_sizes.CELLS_PER_STAGE
    normal, reduction = iter(cells[:count]), iter(cells[count:])
    prev = cur = x
    for stage in range(len(nasnet_sizes.STAGES)):
        if stage:
            prev = cur = _reduction_cell(next(reduction), prev, cur)
        for _ in range(nasnet_sizes.CELLS_PER_STAGE):
            prev, cur = cur, _normal_cell(next(normal), prev, cur)
    return cur


def _split(params, prev, cur):
    squeeze, squeeze_bias, fit, fit_bias, *pairs = params
    c, p = F.relu(conv(cur, squeeze, squeeze_bias)), F.relu(conv(prev, fit, fit_bias))
    separable = [
        lambda x, stride=1, d=d, w=w: conv(conv(x, d, None, stride, x.shape[1]), w)
        for d, w in zip(pairs[::2], pairs[1::2], strict=True)
    ]
    return c, p, separable


def _average(x, stride):
    return F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)


def _normal_cell(params, prev, cur):
    c, p, (sep1, sep2, sep3, sep4, sep5) = _split(params, prev, cur)
    p_average = _average(p, 1)
    branches = (sep1(c) + c, sep2(p) + sep3(c), _average(c, 1) + p, p_average + p_average, sep4(p) + sep5(p))
    return torch.cat(branches, 1)


def _reduction_cell(params, prev, cur):
    c, p, (sep_a, sep_b, sep_c, sep_d, sep_e) = _split(params, prev, cur)
    c_largest = F.max_pool2d(c, 3, 2, 1)
    o0 = sep_a(p, 2) + sep_c(c, 2)
    o1 = c_largest + sep_b(p, 2)
    return torch.cat((o0, o1, _average(c, 2) + sep_d(p, 2), c_largest + sep_e(o0), _average(o0, 1) + o1), 1)


def resnet(params: list[Tensor], x: Tensor, groups: int = 1) -> Tensor:
    """`(batch, 64, *spatial)` to `(batch, 2048, *spatial / 8)`."""
    remaining = iter(params)
    for blocks, _, first_stride in resnet_sizes.STAGES:
        for i in range(blocks):
            stride = 1 if i else first_stride
            w1, w2, w3 = next(remaining), next(remaining), next(remaining)
            identity = x if i else conv(x, next(remaining), None, stride)
            y = F.relu(conv(F.relu(conv(x, w1)), w2, None, stride, groups))
            x = F.relu(conv(y, w3) + identity)
    return x


FUNCTIONS: dict[str, Callable[[list[Tensor], Tensor], Tensor]] = {
    "bert": bert,
    "dcgan": dcgan,
    "nasnet_a": nasnet_a,
    "resnet50": resnet,
    "resnet3d50": resnet,
    "resnext50": partial(resnet, groups=32),
}


class TorchNetwork(nn.Module):
    """A network as a module, its weights those that `Network.draw` gives."""

    def __init__(self, network: Network):
        super().__init__()
        tensors = [_channels_first(values) for values in network.draw()]
        if network.name == "dcgan":
            _to_channels_first_order(tensors)
        self.weights = nn.ParameterList(nn.Parameter(torch.from_numpy(t), requires_grad=False) for t in tensors)
        self.function = FUNCTIONS[network.name]

    def forward(self, x: Tensor) -> Tensor:
        """The network's output, channels first."""
        return self.function(list(self.weights), x)


def _channels_first(weight: np.ndarray) -> np.ndarray:
    """`(*kernel, in, out)` to `(out, in, *kernel)`."""
    axes = (weight.ndim - 1, weight.ndim - 2, *range(weight.ndim - 2)) if weight.ndim > 1 else (0,)
    return np.ascontiguousarray(weight.transpose(axes))


def _to_channels_first_order(tensors: list[np.ndarray]) -> None:
    """DCGAN's image is flattened in height, width, channel order in JAX; here channels come first."""
    side, channels = dcgan_sizes.SIDE, dcgan_sizes.CHANNELS
    for i in (0, 1):
        image = tensors[i].reshape(side, side, channels, -1)
        tensors[i] = np.ascontiguousarray(image.transpose(2, 0, 1, 3)).reshape(tensors[i].shape)
    last = tensors[-2].reshape(1, 16, 16, 128)
    tensors[-2] = np.ascontiguousarray(last.transpose(0, 3, 1, 2)).reshape(1, -1)


def input_of(network: Network, batch: int) -> Tensor:
    """The benchmark's input, channels first."""
    x = network.draw_input(batch)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)) if x.ndim > 3 else x)


def output_of(y: np.ndarray) -> np.ndarray:
    """Channels last again, as JAX's output."""
    return np.moveaxis(y, 1, -1) if y.ndim > 3 else y
