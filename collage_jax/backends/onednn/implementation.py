"""Which of the library's implementations would run a call, and in which of its forms the call is best made.

*form*: weights as they are, reordered within each call or packed beforehand; data in its own layout or, with reorders
within the call, in one of the library's choice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType

from ..base import Unsupported
from .call import Call, spec
from .pointwise import as_product

#: Weights and data, the preferred form first among equally good implementations. With a free choice of weights the
#: library takes better code for convolutions in groups, and none that is worse.
_CONVOLUTION_FORMS = (("reorder", False), ("plain", False), ("reorder", True))
_PACKED_CONVOLUTION_FORMS = (("packed", False), ("packed", True))
_MATMUL_FORMS = (("plain", False), ("reorder", False))
_PACKED_MATMUL_FORMS = (("packed", False),)
_GRADIENT_FORMS = (("plain", False), ("plain", True))
_OTHER_FORMS = (("plain", False),)

_GENERATED, _SINGLE_GEMM, _GEMM, _OTHER, _REFERENCE = range(5)


@dataclass(frozen=True, eq=False)
class Choice:
    """A call in the form to make it in. ``packed_bytes`` is the size of its weights where they come packed."""

    call: Call
    spec: str
    version: str
    implementation: str
    is_packed: bool
    packed_bytes: int


def choose(module: ModuleType, call: Call, packed: bool) -> Choice | Unsupported:
    """The best form of ``call``, its weights packed beforehand or not; never the library's slow reference code."""
    reasons: dict[str, None] = {}
    # A residual is read as one more tensor where that can be done: summing into it is no faster, but takes its buffer,
    # which XLA has to copy first if it is needed again.
    for candidate in (call,) if call.sum is None else (call.without_sum(), call):
        forms = filter(None, (as_product(candidate), candidate))
        choices = [choice for form in forms for choice in _choices(module, form, packed, reasons)]
        kept = [c for c in choices if _wrong(c) is None]
        reasons.update(dict.fromkeys(wrong for c in choices if (wrong := _wrong(c)) is not None))
        good = [c for c in kept if _rank(c) != _REFERENCE]
        if good:
            return _without_idle_reorder(min(good, key=lambda c: (_rank(c), _reads_slowly(c))), choices)
        for choice in kept:
            reasons[f"oneDNN has only its reference implementation ({choice.implementation}) for this {call.op}"] = None
    return Unsupported("; ".join(reasons))


def _choices(module: ModuleType, call: Call, packed: bool, reasons: dict[str, None]) -> Iterable[Choice]:
    """Every form the library can run; why not for the others goes to ``reasons``."""
    for weights, inner in _forms(call, packed):
        text = spec(call, weights, inner)
        try:
            answer = module.query(text)
        except ValueError as error:
            reasons[str(error)] = None
        else:
            yield Choice(call, text, module.version(), answer["impl"], packed, answer["packed_bytes"])


def _forms(call: Call, packed: bool) -> Iterable[tuple[str, bool]]:
    if call.op == "conv_weights":
        return _GRADIENT_FORMS
    if call.weights is None:
        return _OTHER_FORMS
    if call.op == "matmul":
        return _PACKED_MATMUL_FORMS if packed else _MATMUL_FORMS
    return _PACKED_CONVOLUTION_FORMS if packed else _CONVOLUTION_FORMS


def _without_idle_reorder(best: Choice, choices: Iterable[Choice]) -> Choice:
    """``best``, or the same implementation reading the weights as they are."""
    plain = spec(best.call)
    same = (c for c in choices if c.spec == plain and c.implementation == best.implementation)
    return next((c for c in same if not _reads_slowly(c)), best)


def _rank(choice: Choice) -> int:
    """Smaller is better: code generated for the shape, one matrix product, products of gathered patches, others."""
    name = choice.implementation.lower()
    if "ref" in name or ("conv:any+" in name and choice.call.post):
        # What follows a transposed convolution that is the gradient of another is done element by element there: 80 ms
        # for 1.6 million numbers after a convolution of 1 ms.
        return _REFERENCE
    if "brg" in name or "brd" in name:
        return _GENERATED
    if "gemm" in name:
        return _SINGLE_GEMM if _is_pointwise(choice.call) else _GEMM
    return _GENERATED if "jit" in name else _OTHER


def _wrong(choice: Choice) -> str | None:
    """What the implementation does wrong, in oneDNN 3.2, or None."""
    call, name = choice.call, choice.implementation.lower()
    if call.op != "matmul" and "gemm" in name and any(p.text().startswith("eltwise:logistic:") for p in call.post):
        return "oneDNN's convolution by gathered patches makes 0 of the sigmoid of NaN"
    lanes = 16 if "avx512" in name else 8
    strides = dict(call.keys).get("strides", "1").split("x")
    if call.op == "conv_weights" and name.startswith("jit_1x1") and set(strides) != {"1"}:
        channels = dict(call.sources)["src"].memory.dims[1]
        if channels % lanes:
            # With AVX2, of 1 to 7 channels, a tenth to all of the calls gave other numbers, which hang on what memory
            # held before; of 8 to 24 none did.
            return f"oneDNN's gradient of strided pointwise weights is wrong for {channels} channels"
    return None


def _reads_slowly(choice: Choice) -> bool:
    """True for the gradient of weights by AVX2's code on data as it is: on data in blocks it is up to 4 times as fast.

    oneDNN 3.2, Zen 3, channels last, 1 group: 128 and 64 channels of 256x256 pixels 564 and 144 ms, changes of layout
    included; 64 and 3 of as many 93 and 45 ms; 256 and 256 of 14x14 13.9 and 13.8 ms.
    """
    return choice.call.op == "conv_weights" and choice.implementation == "jit:avx2" and "inner=any" not in choice.spec


def _is_pointwise(call: Call) -> bool:
    """True for a matrix product, also in a convolution's clothes; then a change of layout costs more than it brings."""
    if call.weights is None or call.op == "matmul":
        return True
    spatial = len(call.dst.dims) - 2
    return all(n == 1 for n in call.weights.memory.dims[-spatial:])
