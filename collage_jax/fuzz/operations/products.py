"""Products: dot_general with every pattern of batches and contractions, matmul, einsum, ragged and scaled ones."""

from __future__ import annotations

from ..builder import Builder, Var
from ..program import Raw

PRECISIONS = (None, None, None, Raw("lax.Precision.HIGHEST"), "float32", Raw("lax.Precision.HIGH"))


def _scaled(b: Builder, shape: tuple[int, ...], dtype: object) -> Var:
    return b.like(shape, dtype)


def general(b: Builder) -> None:
    x = b.pick("number" if b.chance(0.15) else "float", rank=(1, 5))
    order = b.rng.sample(range(x.rank), x.rank)
    batch = b.rng.randint(0, min(2, x.rank - 1)) if b.chance(0.5) else 0
    contract = b.rng.randint(0 if b.chance(0.1) else min(1, x.rank - batch), min(2, x.rank - batch))
    left_batch, left_contract = order[:batch], order[batch : batch + contract]
    free = [b.dim() or 1 for _ in range(b.rng.randint(0, 2))]
    sizes = (
        [("b", i) for i in range(batch)] + [("c", i) for i in range(contract)] + [("f", i) for i in range(len(free))]
    )
    b.rng.shuffle(sizes)
    of = {"b": [x.shape[a] for a in left_batch], "c": [x.shape[a] for a in left_contract], "f": free}
    shape = tuple(of[kind][i] for kind, i in sizes)
    right_batch = [sizes.index(("b", i)) for i in range(batch)]
    right_contract = [sizes.index(("c", i)) for i in range(contract)]
    y = _scaled(b, shape, x.dtype)
    numbers = ((tuple(left_contract), tuple(right_contract)), (tuple(left_batch), tuple(right_batch)))
    template = "lax.dot_general({0}, {1}, {numbers}"
    params: dict[str, object] = {"numbers": numbers}
    if b.chance(0.3):
        template, params["precision"] = template + ", precision={precision}", b.choice(PRECISIONS)
    if b.chance(0.25) and not x.is_a("complex"):
        wide = "float32" if x.is_a("float") and x.dtype.itemsize < 8 else str(x.dtype)
        wide = "int32" if x.is_a("int") and x.dtype.itemsize < 4 else wide
        template, params["wide"] = template + ", preferred_element_type={wide}", wide
    b.add(template + ")", x, y, **params)


def quantised(b: Builder) -> None:
    """Products of eight-bit integers and of mixed or narrow numbers."""
    m, k, n = (b.choice((1, 3, 4, 8, 16, 17)) for _ in range(3))
    left, right = b.choice(
        (
            ("int8", "int8"),
            ("uint8", "int8"),
            ("int8", "uint8"),
            ("float8_e4m3fn",) * 2,
            ("float8_e5m2", "float8_e4m3fn"),
            ("int4", "int4"),
            ("bfloat16", "float32"),
            ("float32", "bfloat16"),
        )
    )
    x, y = (
        b.argument((m, k), left, low=-4 if left[0] != "u" else 0),
        b.argument((k, n), right, low=-4 if right[0] != "u" else 0),
    )
    wide = "int32" if "int" in left else "float32"
    z = b.add("lax.dot_general({0}, {1}, (((1,), (0,)), ((), ())), preferred_element_type={wide})", x, y, wide=wide)
    if wide == "int32" and b.chance(0.5):
        b.add("{0}.astype('float32') * 0.01", z)


def matmul(b: Builder) -> None:
    x = b.pick("float", rank=(1, 4))
    n = b.dim() or 1
    if x.rank > 2 and b.chance(0.5):
        batch = x.shape[:-2] if b.chance(0.6) else x.shape[1:-2]
        b.add("{0} @ {1}", x, b.like((*batch, x.shape[-1], n), x.dtype))
    else:
        b.add(
            b.choice(("{0} @ {1}", "jnp.dot({0}, {1})", "jnp.matmul({0}, {1})")), x, b.like((x.shape[-1], n), x.dtype)
        )


def einsum(b: Builder) -> None:
    x = b.pick("float", rank=(2, 4))
    letters = "abcd"[: x.rank]
    kept = b.rng.sample(letters, b.rng.randint(1, x.rank))
    new = "e" if b.chance(0.6) else ""
    other = b.rng.sample(kept + list(new), len(kept) + len(new))
    sizes = dict(zip(letters, x.shape, strict=True)) | {"e": b.dim() or 1}
    out = b.rng.sample(sorted(set(letters) | set(new)), b.rng.randint(0, len(set(letters) | set(new))))
    y = b.like([sizes[c] for c in other], x.dtype)
    b.add(f"jnp.einsum('{letters},{''.join(other)}->{''.join(out)}', {{0}}, {{1}})", x, y)


def ragged(b: Builder) -> None:
    groups, m, k, n = b.rng.randint(1, 3), b.choice((4, 6, 9)), b.choice((2, 5)), b.choice((3, 4))
    x, y = b.argument((m, k), "float32"), b.argument((groups, k, n), "float32")
    sizes = b.argument((groups,), "int32", low=0, high=m // groups + 1)
    b.add("lax.ragged_dot({0}, {1}, {2})", x, y, sizes)


def outer(b: Builder) -> None:
    """A product without a contraction, and a sum of products written out."""
    x = b.pick("float", rank=(1, 2))
    y = b.like((b.dim() or 1,), x.dtype)
    z = b.add("{0}[..., None] * {1}", x, y)
    if b.chance(0.5):
        b.add("jnp.sum({0}, axis={axis})", z, axis=b.rng.randrange(z.rank))


def scaled(b: Builder) -> None:
    kind = b.choice(("float8_e4m3fn", "float8_e5m2"))
    b.add("lax.scaled_dot({0}, {1})", b.argument((4, 32), kind), b.argument((32, 3), kind))


OPERATIONS = {general: 4, quantised: 0.4, matmul: 3, einsum: 1, ragged: 0.15, scaled: 0.1, outer: 0.4}
