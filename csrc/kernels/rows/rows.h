// Norms and softmax of rows. Included once per instruction set, inside its namespace, after `Vec` and exponential.h.

// Calls `function(offset, lanes)` for every vector of a row; the last one may have fewer lanes.
template <typename Function>
INLINE void ForEachVector(int64_t columns, Function&& function) {
  int64_t at = 0;
  for (; at + Vec::kLanes <= columns; at += Vec::kLanes) function(at, Vec::First(Vec::kLanes));
  if (at < columns) function(at, Vec::First(columns - at));
}

INLINE float SumOf(Vec::T value) {
  float lanes[Vec::kLanes];
  Vec::Store(lanes, value);
  return std::accumulate(lanes, lanes + Vec::kLanes, 0.f);
}

void NormaliseRows(const Task& t) {
  const float* from = t.source;
  float* to = t.result;
  for (int64_t i = 0; i < t.rows; ++i, from += t.row, to += t.row) {
    Vec::T mean = Vec::All(0), sum = Vec::All(0);
    if (t.norm.centred) {
      ForEachVector(t.columns, [&](int64_t at, Vec::Mask lanes) { sum = sum + Vec::Load(from + at, lanes); });
      mean = Vec::All(SumOf(sum) / static_cast<float>(t.columns));
      sum = Vec::All(0);
    }
    ForEachVector(t.columns, [&](int64_t at, Vec::Mask lanes) {
      const Vec::T centred = Vec::Only(lanes, Vec::Load(from + at, lanes) - mean);
      sum = Vec::MulAdd(centred, centred, sum);
    });
    const float variance = SumOf(sum) * t.norm.inverse_count;
    const float divisor = t.norm.outside ? std::sqrt(variance) + t.norm.epsilon : std::sqrt(variance + t.norm.epsilon);
    const Vec::T inverse = Vec::All(1 / divisor);
    ForEachVector(t.columns, [&](int64_t at, Vec::Mask lanes) {
      Vec::T value = (Vec::Load(from + at, lanes) - mean) * inverse;
      if (t.scale != nullptr) value = value * Vec::Load(t.scale + at, lanes);
      if (t.shift != nullptr) value = value + Vec::Load(t.shift + at, lanes);
      Vec::Store(to + at, value, lanes);
    });
  }
}

void SoftmaxRows(const Task& t) {
  const Vec::T lowest = Vec::All(-std::numeric_limits<float>::infinity());
  const float* from = t.source;
  float* to = t.result;
  for (int64_t i = 0; i < t.rows; ++i, from += t.row, to += t.row) {
    Vec::T largest = lowest;
    ForEachVector(t.columns, [&](int64_t at, Vec::Mask lanes) {
      largest = Vec::Max(largest, Vec::Where(lanes, Vec::Load(from + at, lanes), lowest));
    });
    float each[Vec::kLanes];
    Vec::Store(each, largest);
    // A NaN may be lost here: it comes again where it is subtracted from.
    const Vec::T top = Vec::All(*std::max_element(each, each + Vec::kLanes));
    Vec::T sum = Vec::All(0);
    ForEachVector(t.columns, [&](int64_t at, Vec::Mask lanes) {
      const Vec::T e = Vec::Only(lanes, Exp(Vec::Load(from + at, lanes) - top));
      Vec::Store(to + at, e, lanes);
      sum = sum + e;
    });
    const Vec::T inverse = Vec::All(1 / SumOf(sum));
    ForEachVector(t.columns, [&](int64_t at, Vec::Mask lanes) {
      Vec::Store(to + at, Vec::Load(to + at, lanes) * inverse, lanes);
    });
  }
}

constexpr Kernels kKernels = {NormaliseRows, SoftmaxRows};
