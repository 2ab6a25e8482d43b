// e^x on vectors. Included once per instruction set, inside its namespace, after `Vec`.

// e^x for x <= 0 to the last place or two; NaN stays, what is below the smallest normal number may be 0. x is split as
// n ln 2 + r with |r| <= ln(2) / 2 (ln 2 in two parts, after Cody and Waite), and e^r summed up as its Taylor series, of
// which the eighth term is below 6e-9.
INLINE Vec::T Exp(Vec::T x) {
  const Vec::T n = Vec::Round(x * Vec::All(1.44269504f));
  const Vec::T r = Vec::MulAdd(n, Vec::All(2.12194440e-4f), Vec::MulAdd(n, Vec::All(-0.693359375f), x));
  Vec::T sum = Vec::All(1.f / 5040);
  for (float term : {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 1.f / 2, 1.f, 1.f})
    sum = Vec::MulAdd(sum, r, Vec::All(term));
  return Vec::TimesPowerOfTwo(sum, n, x);
}
