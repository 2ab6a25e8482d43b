"""Hostile texts: whatever stands in a program for a kernel is done or refused, and takes nothing down.

A text that a kernel accepts is run on arrays of just the sizes that it asks for, so that the address sanitizer
(tests/sanitizers) sees each access that goes beyond them.
"""

from __future__ import annotations

import contextlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collage_jax.backends import own_kernels
from collage_jax.backends.onednn import library
from collage_jax.ffi import native, program

CONV = "src=1x6x7x16 dst=1x6x7x16 kernel=3x3 group=1 strides=1x1 dilation=1x1 pads=1x1 relu=0"
PRODUCT = "sizes=6x5x7 rows=1x1x2x3 steps=0x0x15x5 source=30 weights=7x1 scale=1.0 floor=-inf low=0.0 high=inf"

#: Of each library of our own, texts that it can run.
TEXTS = {
    "attention": [
        "op=attention heads=1x2 sizes=5x6x4x3 q=40x4x8 k=48x4x8x1 v=36x3x6x1 result=30x3x6 elements=40x48x36x30"
        " scale=0.5 mask=none",
        "op=attention heads=2x1 sizes=3x3x4x4 q=12x12x4 k=12x12x4x1 v=12x12x4x1 result=12x12x4 elements=24x24x24x24"
        " scale=1.0 mask=keep mask_steps=0x0x3x1 mask_elements=9 fill=-inf",
    ],
    "concat": ["op=place rows=5 row=9 parts=2 columns=4x3 offsets=0x5"],
    "elementwise": [
        "op=elementwise dims=2 sizes=4x6 shape=5x13 low=1x0 gap=1x2 fill=0.5 reads=2 of0=24 at0=0 by0=6x1"
        " of1=6 at1=5 by1=0x-1 code=r0,r1,gt:0:1,n2.0,select:2:1:3",
        "op=elementwise dims=3 sizes=2x3x4 shape=2x3x4 reads=1 of0=48 at0=23 by0=24x-8x-2 code=r0,n1.5,mul:0:1,add:2:0",
    ],
    "grouped": [
        f"op=conv {CONV} bias=1 add=0 low=0.0 high=inf packed=0",
        f"op=pack {CONV} bias=0 add=0 low=0 high=1 packed=1",
    ],
    "narrow": [
        "op=conv src=1x5x6x4 dst=1x5x6x3 kernel=3x3 dilation=1x1 pads=1x1 bias=1 low=-inf high=inf packed=0",
        "op=pack src=1x5x6x4 dst=1x5x6x3 kernel=3x3 dilation=2x1 pads=1x1 bias=0 low=-inf high=inf packed=1",
    ],
    "pools": [
        "op=max outer=2 size=1x6x6 result=1x3x3 window=1x3x3 strides=1x2x2 low=0x1x1 inner=5",
        "op=sum outer=2 size=2x4x4 result=2x4x4 window=1x2x2 strides=1x1x1 low=0x0x0 inner=3",
    ],
    "rows": [
        "op=norm rows=4 columns=19 centred=1 unbiased=1 epsilon=1e-06 outside=1 scale=1 shift=1",
        "op=softmax rows=5 columns=33",
        "op=norm_gradient rows=4 columns=19 centred=1 unbiased=0 epsilon=1e-06 outside=0 scale=1 factor=0.5 added=1",
        "op=scale_gradient rows=70 columns=19 centred=0 unbiased=0 epsilon=1e-06 outside=0",
        "op=softmax_gradient rows=5 columns=33 factor=2 added=1",
    ],
    "separable": [f"op=conv columns=12 bias=1 add=1 low=-inf high=inf depthwise: {CONV} packed=1"],
    "sgemm": [f"op=product {PRODUCT} bias=1 add=1 packed=0", f"op=pack {PRODUCT} bias=0 add=0 packed=1"],
    "winograd": [
        "op=conv tile=4 src=1x1x6x7x16 up=1x1 dst=1x1x6x7x16 depth=1x1x1 pads=0x1x1 bias=1 add=0 relu=1 packed=0",
        "op=conv tile=2 src=1x3x4x4x16 up=1x1 dst=1x3x4x4x16 depth=3x1x1 pads=1x1x1 bias=0 add=1 relu=0 packed=0",
    ],
}

#: What was once done wrong, or never ended.
FOUND = [
    ("separable", TEXTS["separable"][0] + " row=64", "no room after its pixels"),
    ("separable", TEXTS["separable"][0] + " gate=1", "has no gate"),
    ("narrow", TEXTS["narrow"][0].replace("kernel=3x3 dilation=1x1", "kernel=2x1 dilation=1099511627776x1"), "memory"),
    ("narrow", TEXTS["narrow"][0].replace("pads=1x1", "pads=1099511627776x1"), None),
    ("pools", TEXTS["pools"][0].replace("strides=1x2x2", "strides=1x1099511627776x2"), "larger than any memory"),
    ("winograd", TEXTS["winograd"][1].replace("depth=3x1x1", "depth=3x1099511627776x1"), "larger than any memory"),
    ("winograd", TEXTS["winograd"][1].replace("depth=3x1x1", "depth=3x1x1099511627776"), "larger than any memory"),
    ("winograd", TEXTS["winograd"][0].replace("1x1x6x7x16", "1x1x262144x262144x16"), "any memory"),
    ("attention", TEXTS["attention"][0].replace("sizes=5x6x4x3", "sizes=8589934592x6x4x17179869184"), "any memory"),
]

NUMBERS = [0, -1, 1, 2, 3, 5, 8, 15, 16, 17, 31, 64, 100, 1 << 16, 1 << 31, 1 << 40, 1 << 62, (1 << 63) - 1, 10**30]
SMALL = 1 << 12  # texts with larger numbers are read, and not run


@st.composite
def mutated(draw, texts):
    """One of ``texts`` with some of it changed: a number, a token, a character, or its end."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, 3))):
        tokens = text.split(" ")
        at = draw(st.integers(0, len(tokens) - 1))
        kind = draw(st.sampled_from(["number", "number", "number", "drop", "twice", "swap", "character", "cut"]))
        numbers = [*re.finditer(r"\d+", text)]
        if kind == "number" and numbers:
            one = draw(st.sampled_from(numbers))
            text = text[: one.start()] + str(draw(st.sampled_from(NUMBERS))) + text[one.end() :]
        elif kind == "cut":
            text = text[: draw(st.integers(0, len(text)))]
        elif kind == "character" and text:
            place = draw(st.integers(0, len(text) - 1))
            text = (
                text[:place]
                + draw(st.sampled_from([*"0123456789x:=-| \n.efk", "", "\0", "\u00e9"]))
                + text[place + 1 :]
            )
        else:
            other = draw(st.integers(0, len(tokens) - 1))
            if kind == "drop":
                del tokens[at]
            elif kind == "twice":
                tokens.append(tokens[at])
            else:
                tokens[at], tokens[other] = tokens[other], tokens[at]
            text = " ".join(tokens)
    return text


def fits(text):
    """True if no number of ``text`` makes a run long."""
    return all(int(number) <= SMALL for number in re.findall(r"\d+", text))


#: How the targets say which arrays they want.
_COUNT = re.compile(r"the spec says (\d+) operands|got \d+ operands, the spec says (\d+)|program has (\d+) inputs")
_RESULTS = re.compile(r"program has (\d+) results")
_ELEMENTS = re.compile(
    r"(operand|input|result) ?(\d*|for times)(?: of the program)? has \d+ (elements|bytes),[a-z' ]*?(?:at least )?(\d+)"
)


def run_fitting(target, **attributes):
    """Run ``target`` on arrays as large as it asks for; what it says if it refuses whatever it is given."""
    sizes, results = [1], [1]
    for _ in range(40):
        call = jax.ffi.ffi_call(target, [jax.ShapeDtypeStruct((n,), jnp.float32) for n in results])
        operands = [np.linspace(-1, 1, n, dtype=np.float32) for n in sizes]
        try:
            jax.block_until_ready(jax.jit(lambda *xs, call=call: call(*xs, **attributes))(*operands))
            return None
        except jax.errors.JaxRuntimeError as error:
            said = str(error)
        if (wanted := _COUNT.search(said)) is not None:
            sizes = [1] * int(next(filter(None, wanted.groups())))
        elif (wanted := _RESULTS.search(said)) is not None:
            results = [1] * int(wanted[1])
        elif (wanted := _ELEMENTS.search(said)) is not None:
            what, which, unit, number = wanted.groups()
            number = int(number) // (4 if unit == "bytes" else 1)
            if number > 1 << 20:
                return said
            (results if what == "result" else sizes)[-1 if which == "for times" else int(which or 0)] = number
        else:
            return said
    raise AssertionError(f"no arrays suit {target}: {said}")


def loaded(name):
    module = own_kernels.load(f"_kernels.{name}")
    if not module:
        pytest.skip(module.reason)
    return module


def run_kernel(name, module, text):
    return run_fitting(f"collage_{name}_v1", spec=text, version=module.version())


@pytest.mark.parametrize("name", TEXTS)
def test_texts_as_they_should_be_are_run(name):
    module = loaded(name)
    for text in TEXTS[name]:
        assert run_kernel(name, module, text) is None


@pytest.mark.parametrize("name", TEXTS)
@given(data=st.data())
def test_a_text_of_our_kernels_is_done_or_refused(name, data):
    module = loaded(name)
    for _ in range(4):  # reading costs little
        text = data.draw(mutated(TEXTS[name]))
        try:
            module.packed_size(text)
        except ValueError:
            continue
        if fits(text):
            run_kernel(name, module, text)
            return


@pytest.mark.parametrize(("name", "text", "message"), FOUND)
def test_what_was_once_done_wrong_is_refused_or_done(name, text, message):
    module = loaded(name)
    if message is None:
        module.packed_size(text)
        return
    with pytest.raises(ValueError, match=message):
        module.packed_size(text)


ONEDNN = [
    "op=matmul src=f32:4x8:8x1 wei=f32:8x2:2x1 dst=f32:4x2:2x1",
    "op=conv src=f32:1x8x6x6:288x1x48x8 wei=f32:4x8x3x3:any plain=1x4x96x32 dst=f32:1x4x6x6:144x1x24x4 strides=1x1"
    " dilates=0x0 pads_l=1x1 pads_r=1x1 wei_reorder=1 post=eltwise:relu:0:0|binary:add:f32:1x4x1x1:4x1x1x1",
    "op=softmax src=f32:3x5:5x1 dst=f32:3x5:5x1 axis=1 keep_nan=1",
    "op=binary alg=add src0=f32:4x6:6x1 src1=f32:4x6:6x1 dst=f32:4x6:6x1",
]


@given(data=st.data())
def test_a_text_of_onednn_s_is_done_or_refused(data):
    module = library.load()
    if not module:
        pytest.skip(module.reason)
    text = data.draw(mutated(ONEDNN))
    if fits(text):
        run_fitting(library.TARGET, spec=text, version=module.version())
        return
    with contextlib.suppress(ValueError):
        module.query(text)


def programs():
    """Texts of programs with two steps of our own kernels."""
    version = loaded("rows").version()
    softmax, product = TEXTS["rows"][1], TEXTS["sgemm"][0].replace("bias=1 add=1", "bias=0 add=0")
    multiply = f"_kernels.sgemm {loaded('sgemm').version()}"
    return [
        f"_kernels.rows {version} t0 i0\n{softmax}\n_kernels.rows {version} o0 t0\n{softmax}",
        f"timed\n{multiply} t0 i0 i1\n{product}\n_kernels.rows {version} o0+8 t0\nop=softmax rows=3 columns=14"
        f"\n{multiply} o0+176 i0 i1\n{product}",
        f"_kernels.rows {version} t1048575 i0\n{softmax}\n_kernels.rows {version} o3 t1048575\n{softmax}",
    ]


@pytest.fixture(scope="module")
def joined():
    module = program._load()
    if module is None:
        pytest.skip("collage_jax._program was not built")
    for name in ("rows", "sgemm"):
        loaded(name)
        assert program._offers_steps(module, f"_kernels.{name}")
    return programs()


@pytest.mark.parametrize("number", range(3))
def test_programs_as_they_should_be_are_run(number, joined):
    assert run_fitting(program.TARGET, spec=joined[number]) is None


@given(data=st.data())
def test_a_text_of_a_program_is_done_or_refused(data, joined):
    text = data.draw(mutated(joined))
    if fits(text):
        run_fitting(program.TARGET, spec=text)


@given(name=st.text(max_size=30))
def test_a_name_of_no_python_function_is_refused(name):
    try:
        native.register(native.extension("_callback"))
    except ImportError as missing:
        pytest.skip(str(missing))
    said = run_fitting("collage_callback_v1", function=name)
    assert "no Python function called" in said
