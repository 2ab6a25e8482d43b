// Norms and softmax of rows, and their gradients. Included once per instruction set, inside its namespace, after `Vec` and exponential.h.

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
template <typename T, typename Function, typename Join>
INLINE T Reduce(int64_t columns, T start, Function&& function, Join&& join) {
  constexpr int kLanes = Vec::kLanes;
  T a = start, b = start, c = start, d = start;
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

INLINE Vec::T Plus(Vec::T a, Vec::T b) { return a + b; }

// What a norm takes of a row: `mean` is 0 if it is not centred, `root` what of the variance has a gradient.
struct Moments {
  Vec::T mean;
  float root, divisor;
};

INLINE Moments MomentsOf(const float* from, int64_t columns, const Norm& norm) {
  const Vec::T zero = Vec::All(0);
  Vec::T mean = zero;
  if (norm.centred) {
    const auto add = [&](Vec::T sum, int64_t at, auto lanes) { return sum + lanes.Load(from + at); };
    mean = Vec::All(SumOf(Reduce(columns, zero, add, Plus)) / static_cast<float>(columns));
  }
  const auto add_square = [&](Vec::T sum, int64_t at, auto lanes) {
    const Vec::T centred = lanes.Or(lanes.Load(from + at) - mean, zero);
    return Vec::MulAdd(centred, centred, sum);
  };
  const float variance = SumOf(Reduce(columns, zero, add_square, Plus)) * norm.inverse_count;
  const float root = std::sqrt(norm.outside ? variance : variance + norm.epsilon);
  return {mean, root, norm.outside ? root + norm.epsilon : root};
}

void NormaliseRows(const Task& t) {
  const float* from = t.source;
  float* to = t.result;
  for (int64_t i = 0; i < t.rows; ++i, from += t.row, to += t.row) {
    const Moments moments = MomentsOf(from, t.columns, t.norm);
    const Vec::T mean = moments.mean, inverse = Vec::All(1 / moments.divisor);
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
    const Vec::T sum = Reduce(t.columns, zero, add, Plus);
    const Vec::T inverse = Vec::All(1 / SumOf(sum));
    ForEachVector(t.columns, [&](int64_t at, auto lanes) { lanes.Store(to + at, lanes.Load(to + at) * inverse); });
  }
}

// `factor` times a gradient, and what is added.
template <typename Lanes>
INLINE void StoreGradient(const Task& t, int64_t at, Lanes lanes, Vec::T value) {
  value = value * Vec::All(t.factor);
  if (t.added != nullptr) value = value + lanes.Load(t.added + at);
  lanes.Store(t.result + at, value);
}

// Where d is what the centred c is divided by and g = scale * cotangent, by c it is g / d - c * sum(g c) / (d^2 root m),
// m being what the squares were divided by; by the source it is that less its mean, and c has none.
void NormGradientRows(const Task& all) {
  struct Sums {
    Vec::T g, products;
  };
  Task t = all;
  for (int64_t i = 0; i < all.rows; ++i) {
    const Moments moments = MomentsOf(t.source, t.columns, t.norm);
    const auto gradient = [&](int64_t at, auto lanes) {
      const Vec::T g = lanes.Load(t.cotangent + at);
      return t.scale == nullptr ? g : g * lanes.Load(t.scale + at);
    };
    const auto add = [&](Sums sums, int64_t at, auto lanes) {
      const Vec::T g = gradient(at, lanes);  // 0 where there is no lane
      return Sums{sums.g + g, Vec::MulAdd(g, lanes.Load(t.source + at) - moments.mean, sums.products)};
    };
    const auto plus = [](Sums a, Sums b) { return Sums{a.g + b.g, a.products + b.products}; };
    const Sums sums = Reduce(t.columns, Sums{Vec::All(0), Vec::All(0)}, add, plus);
    const float inverse = 1 / moments.divisor, by_root = inverse * inverse / moments.root * t.norm.inverse_count;
    const Vec::T factor = Vec::All(inverse), along = Vec::All(SumOf(sums.products) * by_root);
    const float mean = t.norm.centred ? inverse * SumOf(sums.g) / static_cast<float>(t.columns) : 0;
    const Vec::T less = Vec::All(mean);
    ForEachVector(t.columns, [&](int64_t at, auto lanes) {
      const Vec::T centred = lanes.Load(t.source + at) - moments.mean;
      StoreGradient(t, at, lanes, gradient(at, lanes) * factor - centred * along - less);
    });
    t.source += t.row, t.cotangent += t.row, t.result += t.row;
    if (t.added != nullptr) t.added += t.row;
  }
}

void ScaleGradientRows(const Task& t) {
  const float *from = t.source, *cotangent = t.cotangent;
  std::fill_n(t.result, t.columns, 0.f);
  for (int64_t i = 0; i < t.rows; ++i, from += t.row, cotangent += t.row) {
    const Moments moments = MomentsOf(from, t.columns, t.norm);
    const Vec::T mean = moments.mean, inverse = Vec::All(1 / moments.divisor);
    ForEachVector(t.columns, [&](int64_t at, auto lanes) {
      const Vec::T normal = (lanes.Load(from + at) - mean) * inverse;
      lanes.Store(t.result + at, Vec::MulAdd(lanes.Load(cotangent + at), normal, lanes.Load(t.result + at)));
    });
  }
}

void SoftmaxGradientRows(const Task& all) {
  Task t = all;
  for (int64_t i = 0; i < all.rows; ++i) {
    const auto add = [&](Vec::T sum, int64_t at, auto lanes) {
      return Vec::MulAdd(lanes.Load(t.source + at), lanes.Load(t.cotangent + at), sum);
    };
    const Vec::T sum = Vec::All(SumOf(Reduce(t.columns, Vec::All(0), add, Plus)));
    ForEachVector(t.columns, [&](int64_t at, auto lanes) {
      StoreGradient(t, at, lanes, lanes.Load(t.source + at) * (lanes.Load(t.cotangent + at) - sum));
    });
    t.source += t.row, t.cotangent += t.row, t.result += t.row;
    if (t.added != nullptr) t.added += t.row;
  }
}

constexpr Kernels kKernels = {NormaliseRows, SoftmaxRows, NormGradientRows, ScaleGradientRows, SoftmaxGradientRows};
