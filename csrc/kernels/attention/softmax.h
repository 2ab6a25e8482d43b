// Softmax of rows, in place. Included once per instruction set, inside its namespace, after `Vec`.

// e^x for x <= 0 to the last place or two; NaN stays, what is below the smallest normal number may be 0. x is split as
// n ln 2 + r with |r| <= ln(2) / 2 (ln 2 in two parts, after Cody and Waite), and e^r summed up as its Taylor series, of
// which the eighth term is below 6e-9.
INLINE Vec::T Exp(Vec::T x) {
  const Vec::T n = Vec::Round(x * Vec::All(1.44269504f));
  const Vec::T r = Vec::MulAdd(n, Vec::All(2.12194440e-4f), Vec::MulAdd(n, Vec::All(-0.693359375f), x));
  Vec::T sum = Vec::All(1.f / 5040);
  for (float term : {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 1.f / 2, 1.f, 1.f}) sum = Vec::MulAdd(sum, r, Vec::All(term));
  return Vec::TimesPowerOfTwo(sum, n, x);
}

template <Masking kMasking>
INLINE void ApplyMask(float* row, const float* mask, const Scores& s) {
  for (int64_t i = 0; i < s.columns; ++i) {
    const float value = mask[i * s.mask_column];
    row[i] = kMasking == Masking::kBias ? row[i] + value : value != 0 ? row[i] : s.fill;
  }
}

void SoftmaxRows(const Scores& s) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const int64_t padded = (s.columns + Vec::kLanes - 1) / Vec::kLanes * Vec::kLanes;
  for (int64_t i = 0; i < s.rows; ++i) {
    float* row = s.first + i * s.row;
    if (s.masking == Masking::kBias) ApplyMask<Masking::kBias>(row, s.mask + i * s.mask_row, s);
    if (s.masking == Masking::kKeep) ApplyMask<Masking::kKeep>(row, s.mask + i * s.mask_row, s);
    std::fill(row + s.columns, row + padded, -kInfinity);  // no part of the sum

    Vec::T largest = Vec::Load(row);
    for (int64_t j = Vec::kLanes; j < padded; j += Vec::kLanes) largest = Vec::Max(largest, Vec::Load(row + j));
    float lanes[Vec::kLanes];
    Vec::Store(lanes, largest);
    // A NaN may be lost here: it comes again where it is subtracted from.
    const Vec::T top = Vec::All(*std::max_element(lanes, lanes + Vec::kLanes));
    Vec::T sum = Vec::All(0);
    for (int64_t j = 0; j < padded; j += Vec::kLanes) {
      const Vec::T e = Exp(Vec::Load(row + j) - top);
      Vec::Store(row + j, e);
      sum = sum + e;
    }
    Vec::Store(lanes, sum);
    const Vec::T inverse = Vec::All(1 / std::accumulate(lanes, lanes + Vec::kLanes, 0.f));
    for (int64_t j = 0; j < padded; j += Vec::kLanes) Vec::Store(row + j, Vec::Load(row + j) * inverse);
  }
}
