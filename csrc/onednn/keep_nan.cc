#include "keep_nan.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <utility>

#include "parse.h"
#include "spread.h"

namespace collage::onednn {
namespace {

using dnnl::memory;

// Bit patterns without their sign, as integers: those above infinity's are NaN.
struct Float {
  using T = uint32_t;
  static constexpr T kMagnitude = 0x7fffffff, kInfinity = 0x7f800000, kMinusInfinity = 0xff800000, kNan = 0x7fc00000;
};
struct Bfloat {
  using T = uint16_t;
  static constexpr T kMagnitude = 0x7fff, kInfinity = 0x7f80, kMinusInfinity = 0xff80, kNan = 0x7fc0;
};

template <typename F>
inline __attribute__((always_inline)) bool SpoilsMaximum(const typename F::T* data, int64_t count) {
  typename F::T found = 0;
  for (int64_t i = 0; i < count; ++i)
    found |= (data[i] & F::kMagnitude) > F::kInfinity || data[i] == F::kMinusInfinity;
  return found != 0;
}

template <typename F>
inline __attribute__((always_inline)) bool SpoilsSoftmax(const typename F::T* row, int64_t count) {
  typename F::T bad = 0, finite = 0;
  for (int64_t i = 0; i < count; ++i) {
    bad |= (row[i] & F::kMagnitude) > F::kInfinity || row[i] == F::kInfinity;
    finite |= (row[i] & F::kMagnitude) < F::kInfinity;
  }
  return bad != 0 || finite == 0;
}

COLLAGE_CLONES bool FloatsSpoilMaximum(const uint32_t* x, int64_t count) { return SpoilsMaximum<Float>(x, count); }
COLLAGE_CLONES bool BfloatsSpoilMaximum(const uint16_t* x, int64_t count) { return SpoilsMaximum<Bfloat>(x, count); }
COLLAGE_CLONES bool FloatsSpoil(const uint32_t* row, int64_t count) { return SpoilsSoftmax<Float>(row, count); }
COLLAGE_CLONES bool BfloatsSpoil(const uint16_t* row, int64_t count) { return SpoilsSoftmax<Bfloat>(row, count); }

template <typename F>
void KeepRows(const KeepNan& keep, const void* src, void* dst, bool (*spoils)(const typename F::T*, int64_t)) {
  const auto* from = static_cast<const typename F::T*>(src);
  auto* to = static_cast<typename F::T*>(dst);
  const int64_t columns = keep.columns;
  Spread(keep.rows, std::max<int64_t>(1, kSerial / columns), [=](int64_t first, int64_t count) {
    for (int64_t row = first; row < first + count; ++row)
      if (spoils(from + row * columns, columns)) std::fill_n(to + row * columns, columns, F::kNan);
  });
}

// Calls `visit(offset, place)` for each element, `place` being its index in every dimension.
void ForEach(const memory::desc& desc, const std::function<void(int64_t, const memory::dims&)>& visit) {
  const auto dims = desc.get_dims(), strides = desc.get_strides();
  memory::dims place(dims.size(), 0);
  for (int64_t offset = 0;;) {
    visit(offset, place);
    int d = static_cast<int>(dims.size()) - 1;
    for (; d >= 0 && ++place[d] == dims[d]; --d) {
      offset -= (dims[d] - 1) * strides[d];
      place[d] = 0;
    }
    if (d < 0) return;
    offset += strides[d];
  }
}

// Rare, so that it need not be fast: every output looks at its window.
template <typename F>
void SpoilWindows(const KeepNan& keep, const typename F::T* src, typename F::T* dst) {
  const auto dims = keep.src.get_dims(), strides = keep.src.get_strides();
  const int spatial = static_cast<int>(keep.kernel.size());
  const memory::desc window(keep.kernel, keep.src.get_data_type(), memory::dims(spatial, 0));
  ForEach(keep.dst, [&](int64_t offset, const memory::dims& place) {
    const int64_t base = place[0] * strides[0] + place[1] * strides[1];
    bool is_nan = false, is_minus_infinity = true;
    ForEach(window, [&](int64_t, const memory::dims& tap) {
      int64_t at = base;
      for (int d = 0; d < spatial; ++d) {
        const int64_t x = place[d + 2] * keep.strides[d] - keep.pads[d] + tap[d] * (keep.dilates[d] + 1);
        if (x < 0 || x >= dims[d + 2]) return;
        at += x * strides[d + 2];
      }
      is_nan |= (src[at] & F::kMagnitude) > F::kInfinity;
      is_minus_infinity &= src[at] == F::kMinusInfinity;
    });
    if (is_nan || is_minus_infinity) dst[offset] = is_nan ? F::kNan : F::kMinusInfinity;
  });
}

template <typename F>
void KeepWindows(const KeepNan& keep, const void* src, void* dst, bool (*spoils)(const typename F::T*, int64_t)) {
  const auto* from = static_cast<const typename F::T*>(src);
  std::atomic<bool> found{false};
  Spread(static_cast<int64_t>(SpanBytes(keep.src) / sizeof(typename F::T)), kSerial,
         [&](int64_t first, int64_t count) {
           if (spoils(from + first, count)) found = true;
         });
  if (found) SpoilWindows<F>(keep, from, static_cast<typename F::T*>(dst));
}

void RequireKnown(const memory::desc& src, const memory::desc& dst) {
  const auto type = src.get_data_type();
  if (type != dst.get_data_type() || (type != memory::data_type::f32 && type != memory::data_type::bf16))
    throw SpecError("bad token `keep_nan=1`: src and dst must both be f32 or both bf16");
}

}  // namespace

KeepNan KeepNanInRows(const memory::desc& src, const memory::desc& dst, int axis) {
  RequireKnown(src, dst);
  const int64_t columns = src.get_dims()[axis];
  const bool in_rows = src == dst && src.get_strides()[axis] == 1 && SpanBytes(src) == DenseBytes(src);
  if (!in_rows || columns == 0) throw SpecError("bad token `keep_nan=1`: the axis must be dense and vary fastest");
  KeepNan keep{KeepNan::kRows, src, dst};
  keep.columns = columns;
  keep.rows = static_cast<int64_t>(DenseBytes(src) / memory::data_type_size(src.get_data_type())) / columns;
  return keep;
}

KeepNan KeepNanInWindows(const memory::desc& src, const memory::desc& dst, memory::dims kernel, memory::dims strides,
                         memory::dims dilates, memory::dims pads) {
  RequireKnown(src, dst);
  KeepNan keep{KeepNan::kWindows, src, dst};
  keep.kernel = std::move(kernel), keep.strides = std::move(strides);
  keep.dilates = std::move(dilates), keep.pads = std::move(pads);
  return keep;
}

void RunKeepNan(const KeepNan& keep, const void* src, void* dst) {
  if (keep.kind == KeepNan::kNowhere) return;
  const bool narrow = keep.src.get_data_type() == memory::data_type::bf16;
  if (keep.kind == KeepNan::kRows)
    narrow ? KeepRows<Bfloat>(keep, src, dst, BfloatsSpoil) : KeepRows<Float>(keep, src, dst, FloatsSpoil);
  else
    narrow ? KeepWindows<Bfloat>(keep, src, dst, BfloatsSpoilMaximum)
           : KeepWindows<Float>(keep, src, dst, FloatsSpoilMaximum);
}

}  // namespace collage::onednn
