// Softmax of rows, in place. Included once per instruction set, inside its namespace, after `Vec` and exponential.h.

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
