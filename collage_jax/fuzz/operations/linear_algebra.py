"""Decompositions of small matrices, transforms. Only what is unique is used: no signs of eigenvectors."""

from __future__ import annotations

from ..builder import Builder, Var


def _square(b: Builder) -> Var:
    n = b.choice((1, 2, 3, 4))
    lead = b.choice(((), (), (2,)))
    return b.argument((*lead, n, n), b.choice(("float32", "float32", "float64")) if b.x64 else "float32", "normal")


def _positive(b: Builder) -> Var:
    x = _square(b)
    n = x.shape[-1]
    return b.add(f"{{0}} @ jnp.swapaxes({{0}}, -1, -2) + {n + 1}.0 * jnp.eye({n}, dtype={str(x.dtype)!r})", x)


def cholesky(b: Builder) -> None:
    x = b.add("lax.linalg.cholesky({0})", _positive(b))
    if b.chance(0.3) and x.rank == 2:
        b.add("lax.linalg.cholesky_update({0}, {1})", x, b.argument(x.shape[:1], x.dtype, "normal"))


def triangular_solve(b: Builder) -> None:
    a = b.add("lax.linalg.cholesky({0})", _positive(b))
    n = a.shape[-1]
    left = b.chance(0.5)
    y = b.like((*a.shape[:-2], n, 2) if left else (*a.shape[:-2], 2, n), a.dtype)
    more = ", transpose_a={flip}, unit_diagonal={unit}" if b.chance(0.5) else ""
    params = {"left": left, "flip": b.chance(0.5), "unit": b.chance(0.2)}
    b.add(f"lax.linalg.triangular_solve({{0}}, {{1}}, left_side={{left}}, lower=True{more})", a, y, **params)


def qr(b: Builder) -> None:
    q = b.add_many("lax.linalg.qr({0}, full_matrices={full})", _square(b), full=b.chance(0.3))
    b.add("jnp.abs({0})", q[0])


def eigenvalues(b: Builder) -> None:
    x = _positive(b)
    draw = b.rng.random()
    if draw < 0.4:
        b.add("lax.linalg.eigh({0}, symmetrize_input=False)[1]", x)
    elif draw < 0.7:
        b.add("jnp.linalg.svd({0}, compute_uv=False)", x)
    elif draw < 0.85:
        b.add("jnp.sort(jnp.real(lax.linalg.eig({0}, compute_left_eigenvectors=False)[0]), axis=-1)", x)
    else:
        b.add("jnp.linalg.det({0})", x)


def solve(b: Builder) -> None:
    x = _positive(b)
    y = b.like((*x.shape[:-1], 2), x.dtype)
    by_cholesky = x.rank == 2 and b.chance(0.5)
    b.add("jax.scipy.linalg.solve({0}, {1}, assume_a='pos')" if by_cholesky else "jnp.linalg.solve({0}, {1})", x, y)


def factors(b: Builder) -> None:
    x = _positive(b)
    draw = b.rng.random()
    if draw < 0.3:
        b.add_many("lax.linalg.lu({0})", x)
    elif draw < 0.45:
        b.add("lax.linalg.hessenberg({0})[0]", x)
    elif draw < 0.6:
        b.add("lax.linalg.tridiagonal({0}, lower=True)[1]", x)
    elif draw < 0.7:
        b.add("jnp.sort(jnp.diagonal(lax.linalg.schur({0})[0], axis1=-2, axis2=-1), axis=-1)", x)
    elif draw < 0.85:
        a = b.argument((x.shape[-1], 2), x.dtype)
        b.add("lax.linalg.symmetric_product({0}, jnp.zeros(({n}, {n}), {0}.dtype))", a, n=x.shape[-1])
    else:
        n = x.shape[-1]
        b.add("lax.linalg.householder_product(jnp.eye({n}), jnp.full(({n},), 0.5))", n=n)


def tridiagonal_solve(b: Builder) -> None:
    n = b.choice((3, 4, 6))
    b.add(
        "lax.linalg.tridiagonal_solve({0}.at[0].set(0), {1} + 4, {2}.at[-1].set(0), {3})",
        *(b.argument((n,), "float32", "small") for _ in range(3)),
        b.argument((n, 2), "float32"),
    )


def reflections(b: Builder) -> None:
    x = b.argument((3, 3), "float32", "normal")
    b.add(b.choice((
        "jnp.abs(jnp.linalg.qr({0})[1])", "jnp.abs(jax.scipy.linalg.qr({0}, pivoting=True)[1])",
        "jnp.linalg.qr({0}, mode='raw')[1]", "lax.linalg.ormqr({0}, jnp.full(3, 0.5), {0})",
        "lax.linalg.lu_pivots_to_permutation(lax.linalg.lu({0})[1], 3)",
    )), x)  # fmt: skip


def fft(b: Builder) -> None:
    x = b.pick(
        "inexact",
        rank=(1, 3),
        where=lambda v: v.size > 0 and str(v.dtype) in ("float32", "complex64", "float64", "complex128"),
    )
    if x.is_a("complex"):
        kind, sizes = b.choice(("FFT", "IFFT")), x.shape[-1:]
    else:
        kind, sizes = "RFFT", x.shape[-1:]
    if x.rank > 1 and b.chance(0.3):
        sizes = x.shape[-2:]
    y = b.add("lax.fft({0}, {kind}, {sizes})", x, kind=kind, sizes=sizes)
    if kind == "RFFT" and b.chance(0.7):
        b.add("lax.fft({0}, 'IRFFT', {sizes})", y, sizes=sizes)


OPERATIONS = {
    cholesky: 0.3, triangular_solve: 0.3, qr: 0.2, eigenvalues: 0.3, solve: 0.2, factors: 0.3, tridiagonal_solve: 0.1,
    reflections: 0.15, fft: 0.5,
}  # fmt: skip
