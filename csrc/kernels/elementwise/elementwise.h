// One instruction on some numbers. Included once per instruction set, inside its namespace.

template <typename Function>
INLINE void ForEach(int64_t count, float* __restrict to, Function&& function) {
  for (int64_t i = 0; i < count; ++i) to[i] = function(i);
}

// Truth values are bits, for as a number one is NaN.
template <typename Function>
INLINE void ForEachTruth(int64_t count, float* __restrict to, Function&& function) {
  auto* bits = reinterpret_cast<uint32_t*>(to);
  for (int64_t i = 0; i < count; ++i) bits[i] = function(i) ? ~uint32_t{0} : 0;
}

void Apply(Op op, const float* __restrict x, const float* __restrict y, const float* __restrict z,
           float* __restrict to, int64_t count) {
  switch (op) {
    case Op::kAdd: return ForEach(count, to, [&](int64_t i) { return x[i] + y[i]; });
    case Op::kSub: return ForEach(count, to, [&](int64_t i) { return x[i] - y[i]; });
    case Op::kMul: return ForEach(count, to, [&](int64_t i) { return x[i] * y[i]; });
    case Op::kDiv: return ForEach(count, to, [&](int64_t i) { return x[i] / y[i]; });
    case Op::kMax: return ForEach(count, to, [&](int64_t i) { return x[i] > y[i] || x[i] != x[i] ? x[i] : y[i]; });
    case Op::kMin: return ForEach(count, to, [&](int64_t i) { return x[i] < y[i] || x[i] != x[i] ? x[i] : y[i]; });
    case Op::kNeg: return ForEach(count, to, [&](int64_t i) { return -x[i]; });
    case Op::kAbs: return ForEach(count, to, [&](int64_t i) { return std::fabs(x[i]); });
    case Op::kSqrt: return ForEach(count, to, [&](int64_t i) { return std::sqrt(x[i]); });
    case Op::kGt: return ForEachTruth(count, to, [&](int64_t i) { return x[i] > y[i]; });
    case Op::kGe: return ForEachTruth(count, to, [&](int64_t i) { return x[i] >= y[i]; });
    case Op::kEq: return ForEachTruth(count, to, [&](int64_t i) { return x[i] == y[i]; });
    case Op::kNe: return ForEachTruth(count, to, [&](int64_t i) { return x[i] != y[i]; });
    case Op::kSelect: {
      const auto* truth = reinterpret_cast<const uint32_t*>(x);
      return ForEach(count, to, [&](int64_t i) { return truth[i] != 0 ? y[i] : z[i]; });
    }
    case Op::kRead:
    case Op::kNumber: return;  // are there already
  }
}

constexpr Kernels kKernels = {Apply};
