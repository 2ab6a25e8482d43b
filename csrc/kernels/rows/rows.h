// Norms and softmax of rows. Included once per instruction set, inside its namespace, after `Vec` and exponential.h.

// Which lanes of a vector there are: all, or the first few. Some processors take long over masks, even full ones.
struct Every {
  INLINE Vec::T Load(const float* from) const { return Vec::Load(from); }
  INLINE void Store(float* to, Vec::T value) const { Vec::Store(to, value); }
  INLINE Vec::T Or(Vec::T value, Vec::T) const { return value; }
};
struct Few {
  Vec::Mask lanes;
  INLINE Vec::T Load(const float* from) const { return Vec::Load(from, lanes); }
  INLINE void Store(float* to, Vec::T value) const { Vec::Store(to, value, lanes); }
  INLINE Vec::T Or(Vec::T value, Vec::T other) const { return Vec::Where(lanes, value, other); }
};

// Calls `function(offset, lanes)` for every vector of a row.
template <typename Function>
INLINE void ForEachVector(int64_t columns, Function&& function) {
  int64_t at = 0;
  for (; at + Vec::kLanes <= columns; at += Vec::kLanes) function(at, Every());
  if (at < columns) function(at, Few{Vec::First(columns - at)});
}

// All that `function(value, offset, lanes)` makes of `start` and then of what it made before, vector by vector, `join`ed.
// Every fourth vector goes into the same number: the next need not wait for the one before.
template <typename Function, typename Join>
INLINE Vec::T Reduce(int64_t columns, Vec::T start, Function&& function, Join&& join) {
  constexpr int kLanes = Vec::kLanes;
  Vec::T a = start, b = start, c = start, d = start;
  int64_t at = 0;
  for (; at + 4 * kLanes <= columns; at += 4 * kLanes) {
    a = function(a, at, Every());
    b = function(b, at + kLanes, Every());
    c = function(c, at + 2 * kLanes, Every());
    d = function(d, at + 3 * kLanes, Every());
  }
  for (; at + kLanes <= columns; at += kLanes) a = function(a, at, Every());
  if (at < columns) b = function(b, at, Few{Vec::First(columns - at)});
  return join(join(a, b), join(c, d));
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
    const Vec::T zero = Vec::All(0);
    const auto plus = [&](Vec::T a, Vec::T b) { return a + b; };
    Vec::T mean = zero;
    if (t.norm.centred) {
      const auto add = [&](Vec::T sum, int64_t at, auto lanes) { return sum + lanes.Load(from + at); };
      mean = Vec::All(SumOf(Reduce(t.columns, zero, add, plus)) / static_cast<float>(t.columns));
    }
    const auto add_square = [&](Vec::T sum, int64_t at, auto lanes) {
      const Vec::T centred = lanes.Or(lanes.Load(from + at) - mean, zero);
      return Vec::MulAdd(centred, centred, sum);
    };
    const Vec::T sum = Reduce(t.columns, zero, add_square, plus);
    const float variance = SumOf(sum) * t.norm.inverse_count;
    const float divisor = t.norm.outside ? std::sqrt(variance) + t.norm.epsilon : std::sqrt(variance + t.norm.epsilon);
    const Vec::T inverse = Vec::All(1 / divisor);
    ForEachVector(t.columns, [&](int64_t at, auto lanes) {
      Vec::T value = (lanes.Load(from + at) - mean) * inverse;
      if (t.scale != nullptr) value = value * lanes.Load(t.scale + at);
      if (t.shift != nullptr) value = value + lanes.Load(t.shift + at);
      lanes.Store(to + at, value);
    });
  }
}

void SoftmaxRows(const Task& t) {
  const Vec::T lowest = Vec::All(-std::numeric_limits<float>::infinity());
  const float* from = t.source;
  float* to = t.result;
  for (int64_t i = 0; i < t.rows; ++i, from += t.row, to += t.row) {
    const auto greater = [&](Vec::T a, Vec::T b) { return Vec::Max(a, b); };
    const auto greatest = [&](Vec::T largest, int64_t at, auto lanes) {
      return Vec::Max(largest, lanes.Or(lanes.Load(from + at), lowest));
    };
    const Vec::T largest = Reduce(t.columns, lowest, greatest, greater);
    float each[Vec::kLanes];
    Vec::Store(each, largest);
    // A NaN may be lost here: it comes again where it is subtracted from.
    const Vec::T top = Vec::All(*std::max_element(each, each + Vec::kLanes));
    const Vec::T zero = Vec::All(0);
    const auto add = [&](Vec::T sum, int64_t at, auto lanes) {
      const Vec::T e = lanes.Or(Exp(lanes.Load(from + at) - top), zero);
      lanes.Store(to + at, e);
      return sum + e;
    };
    const Vec::T sum = Reduce(t.columns, zero, add, [&](Vec::T a, Vec::T b) { return a + b; });
    const Vec::T inverse = Vec::All(1 / SumOf(sum));
    ForEachVector(t.columns, [&](int64_t at, auto lanes) { lanes.Store(to + at, lanes.Load(to + at) * inverse); });
  }
}

constexpr Kernels kKernels = {NormaliseRows, SoftmaxRows};
