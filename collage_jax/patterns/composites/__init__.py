"""Composites: what sets of primitives are recognised as, with one module for each family.

Each kind has an operation name, inputs in canonical order (brackets: may be absent) and parameters. Floating dtypes
only. ``axis`` and ``axes`` are not negative. The output has the dtype the primitives give it, which for the norms and
the mean may be wider than that of ``x``.

- ``relu``, ``relu6``, ``sigmoid``, ``silu``, ``hard_sigmoid``, ``hard_swish``, ``softplus``, ``mish`` of x
- ``clip`` of x: min, max
- ``leaky_relu``, ``elu`` of x: alpha
- ``gelu`` of x: approximate, True for the tanh formula, False for erf
- ``gelu_gradient`` of x, dy: approximate, True
- ``softmax``, ``log_softmax`` of x: axis
- ``softmax_gradient`` of y, dy: axis
- ``layer_norm`` of x, [scale], [shift]: axis, epsilon, unbiased, epsilon_outside, scale, shift
- ``layer_norm_gradient`` of x, [scale], dy; ``layer_norm_scale_gradient`` of x, dy: as ``layer_norm``
- ``rms_norm`` of x, [scale]: axis, epsilon, scale
- ``rms_norm_gradient`` of x, [scale], dy; ``rms_norm_scale_gradient`` of x, dy: as ``rms_norm``
- ``batch_norm`` of x, mean, variance, [scale], [shift]: axis, epsilon, scale, shift
- ``avg_pool`` of x: window_dimensions, window_strides, padding, count_include_pad
- ``max_pool`` of x: window_dimensions, window_strides, padding, window_dilation
- ``mean``, ``global_max_pool`` of x: axes, keepdims
- ``upsample_nearest`` of x: factors, one for each dimension
- ``attention`` of q, k, v, [mask]: scale, qk, q_operand, axis, av, v_operand, mask, mask_dims, fill

``gelu_gradient``: dy times the slope of the GELU at x, in training; see ``patterns.gelu_gradient``. The other gradients
are by x or by the scale, dy being that by the result y: ``patterns.row_gradients``.

``unbiased``: the variance is divided by n - 1. ``epsilon_outside``: it is added to the deviation, not to the variance.
Boolean ``scale`` and ``shift`` say whether that input is there; vectors have as many elements as x along ``axis``, and
are 1-D unless the program has them with size-1 dimensions.

Attention: ``qk`` and ``av`` are the ``dimension_numbers`` of the two products, ``q_operand`` and ``v_operand`` say
which operand of them q and v are; ``axis`` is the softmax's, in the scores. ``mask`` is "none", "bias" (added to the
scaled scores), "keep" (where False, the score is ``fill``) or "drop" (where True); ``mask_dims`` gives for each
dimension of the mask that of the scores, None where it is of size 1 and repeated.
"""

from . import activations, batch_norm, normalisation, pooling, softmax, upsampling
from .attention import find_attention
from .found import Found, Recogniser

#: Every recogniser but attention's; where two find equally many nodes, the earlier wins.
RECOGNISERS: tuple[Recogniser, ...] = (
    *activations.RECOGNISERS,
    *softmax.RECOGNISERS,
    *normalisation.RECOGNISERS,
    *batch_norm.RECOGNISERS,
    *pooling.RECOGNISERS,
    *upsampling.RECOGNISERS,
)

__all__ = ["RECOGNISERS", "Found", "Recogniser", "find_attention"]
