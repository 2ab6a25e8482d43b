"""Attention, written in the ways that people write it, and transformers."""

from __future__ import annotations

import math

from ..builder import Builder


def attention(b: Builder) -> None:
    dtype = b.choice(("float32",) * 7 + ("bfloat16", "float16"))
    batch, heads, queries, keys, depth, out = (
        b.choice((1, 2)),
        b.choice((1, 2, 3, 4)),
        b.choice((1, 3, 4, 8, 17)),
        b.choice((1, 3, 5, 8, 16)),
        b.choice((1, 4, 8, 16, 20)),
        b.choice((4, 8, 16)),
    )
    draw = b.rng.random()
    if draw < 0.35:
        q, k, v = (
            b.argument((batch, queries, heads, depth), dtype),
            b.argument((batch, keys, heads, depth), dtype),
            b.argument((batch, keys, heads, out), dtype),
        )
        products = "bqhd,bkhd->bhqk", "bhqk,bkhd->bqhd"
    elif draw < 0.7:
        q, k, v = (
            b.argument((batch, heads, queries, depth), dtype),
            b.argument((batch, heads, keys, depth), dtype),
            b.argument((batch, heads, keys, out), dtype),
        )
        products = "bhqd,bhkd->bhqk", "bhqk,bhkd->bhqd"
    elif draw < 0.85:
        q, k, v = b.argument((queries, depth), dtype), b.argument((keys, depth), dtype), b.argument((keys, out), dtype)
        products = "qd,kd->qk", "qk,kd->qd"
    else:
        q, v = b.argument((batch, queries, depth), dtype), None
        k = v = q if b.chance(0.5) else b.argument((batch, keys, depth), dtype)
        products = "bqd,bkd->bqk", "bqk,bkd->bqd"
    s = b.add(f"jnp.einsum('{products[0]}', {{0}}, {{1}})", q, k)
    s = b.add(
        b.choice(("{0} / {root}", "{0} * {inverse}", "{0}", "0.3 * {0}", "{0} / {root} + 1")),
        s,
        root=math.sqrt(depth),
        inverse=1 / math.sqrt(depth),
    )
    draw = b.rng.random()
    if draw < 0.2:
        s = b.add("{0} + {1}", s, b.argument([d if b.chance(0.6) else 1 for d in s.shape], dtype))
    elif draw < 0.4:
        mask = b.argument([d if b.chance(0.7) else 1 for d in s.shape], "bool")
        fill = b.choice(("-1e9", "-1e30", "-jnp.inf", "jnp.finfo({0}.dtype).min", "0.0"))
        s = b.add(b.choice((f"jnp.where({{1}}, {{0}}, {fill})", f"jnp.where({{1}}, {fill}, {{0}})")), s, mask)
    elif draw < 0.5:
        s = b.add(f"jnp.where(jnp.tril(jnp.ones({s.shape[-2:]}, bool)), {{0}}, -1e9)", s)
    axis = s.rank - 1 if b.chance(0.9) else s.rank - 2
    p = b.tame(
        b.choice(
            (
                "jax.nn.softmax({0}, axis={axis})",
                "jax.nn.softmax({0}, axis={axis})",
                "jax.nn.softmax({0}.astype('float32'), axis={axis}).astype({0}.dtype)",
                "jax.nn.sigmoid({0})",
            )
        ),
        s,
        axis=axis,
    )
    if b.chance(0.15):
        b.add("jnp.sum({0}, axis=-1)", p)
    o = b.add(f"jnp.einsum('{products[1]}', {{0}}, {{1}})", p, v)
    if b.chance(0.3):
        b.add("{0} @ {1}", o, b.argument((o.shape[-1], 8), o.dtype, "small"))


def official_attention(b: Builder) -> None:
    heads = b.choice((2, 4))
    q = b.argument((b.choice((1, 2)), b.choice((3, 8)), heads, b.choice((8, 16))), "float32")
    kv = [b.argument((q.shape[0], b.choice((4,)), heads, q.shape[-1]), "float32") for _ in range(2)]
    b.add(
        b.choice(
            (
                "jax.nn.dot_product_attention({0}, {1}, {2})",
                "jax.nn.dot_product_attention({0}, {1}, {2}, is_causal=True)",
                "jax.nn.dot_product_attention({0}, {1}, {2}, scale=0.3)",
            )
        ),
        q,
        *kv,
    )


def transformer(b: Builder) -> None:
    """A block with one residual around attention and one around what is dense."""
    n, d = b.choice((4, 8)), b.choice((8, 16))
    x = b.argument((n, d), "float32")
    h = b.add("(lambda m: (m - m.mean(-1, keepdims=True)) * lax.rsqrt(m.var(-1, keepdims=True) + 1e-5))({0})", x)
    q, k, v = (
        b.add("({0} @ {1}).reshape({n}, 2, -1)", h, b.argument((d, d), "float32", "small"), n=n) for _ in range(3)
    )
    o = b.add(
        "jnp.einsum('hqk,khd->qhd', jax.nn.softmax(jnp.einsum('qhd,khd->hqk', {0}, {1}) / 2.0), {2}).reshape({n}, -1)",
        q,
        k,
        v,
        n=n,
    )
    x = b.add("{0} + {1} @ {2}", x, o, b.argument((d, d), "float32", "small"))
    y = b.add(
        "jax.nn.gelu({0} @ {1}) @ {2}",
        x,
        b.argument((d, 2 * d), "float32", "small"),
        b.argument((2 * d, d), "float32", "small"),
    )
    b.add("{0} + {1}", x, y)


OPERATIONS = {attention: 2.5, official_attention: 0.4, transformer: 0.3}
