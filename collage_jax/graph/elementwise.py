"""Which operations compute each element of the result from those at the same place."""

from __future__ import annotations

#: By name, composites among them.
ELEMENTWISE = frozenset((
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "clamp",
    "clip", "convert_element_type", "cos", "cosh", "div", "elu", "eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1",
    "floor", "ge", "gelu", "gelu_gradient", "gt", "hard_sigmoid", "hard_swish", "integer_pow", "is_finite", "le",
    "leaky_relu", "log", "log1p", "logistic", "lt", "max", "min", "mish", "mul", "ne", "neg", "not", "or", "pow",
    "relu", "relu6", "rem", "round", "rsqrt", "select_n", "sigmoid", "sign", "silu", "sin", "sinh", "softplus", "sqrt",
    "square", "sub", "tan", "tanh", "xor",
))  # fmt: skip
