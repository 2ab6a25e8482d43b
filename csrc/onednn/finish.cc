#include "finish.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "spread.h"

namespace collage::onednn {
namespace {

COLLAGE_CLONES void ClipFloats(float* data, int64_t count, float low, float high) {
  for (int64_t i = 0; i < count; ++i) {
    const float x = data[i];
    const float raised = x < low ? low : x;
    data[i] = raised > high ? high : raised;
  }
}

COLLAGE_CLONES void RaiseFloats(float* data, int64_t count, float low) {
  for (int64_t i = 0; i < count; ++i) data[i] = data[i] < low ? low : data[i];
}

COLLAGE_CLONES void ClipBfloats(uint16_t* data, int64_t count, float low, float high) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t wide = static_cast<uint32_t>(data[i]) << 16;
    float x;
    std::memcpy(&x, &wide, sizeof x);
    x = x < low ? low : x;
    x = x > high ? high : x;
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    data[i] = static_cast<uint16_t>(bits >> 16);  // exact: bounds are bfloat16 numbers too
  }
}

bool IsBfloat(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return (bits & 0xffff) == 0;
}

}  // namespace

Finish ReadFinish(Spec& spec, const dnnl::memory::desc& result) {
  using dnnl_type = dnnl::memory::data_type;
  if (!spec.Has("finish")) return {};
  const std::string_view text = spec.Text("finish");
  const std::string where = "finish=" + std::string(text);
  const auto parts = Split(text, ':');
  if (parts.size() != 3 || parts[0] != "clip") throw SpecError("bad token `" + where + "`: clip:<low>:<high>");
  const Finish finish{true, ParseFloat(parts[1], where), ParseFloat(parts[2], where)};
  size_t dense = dnnl::memory::data_type_size(result.get_data_type());
  for (int64_t dim : result.get_dims()) dense *= dim;
  if (result.get_size() != dense) throw SpecError("bad token `" + where + "`: the result has gaps");
  const bool narrow = result.get_data_type() == dnnl_type::bf16;
  if (!narrow && result.get_data_type() != dnnl_type::f32)
    throw SpecError("bad token `" + where + "`: the result is neither f32 nor bf16");
  if (narrow && !(IsBfloat(finish.low) && IsBfloat(finish.high)))
    throw SpecError("bad token `" + where + "`: the bounds are no bfloat16 numbers");
  return finish;
}

void RunFinish(const Finish& finish, dnnl::memory::data_type type, void* data, size_t bytes) {
  if (!finish.clips) return;
  const float low = finish.low, high = finish.high;
  if (type == dnnl::memory::data_type::bf16) {
    auto* numbers = static_cast<uint16_t*>(data);
    Spread(static_cast<int64_t>(bytes / 2), kSerial, [=](int64_t at, int64_t count) { ClipBfloats(numbers + at, count, low, high); });
  } else if (std::isinf(high)) {
    auto* numbers = static_cast<float*>(data);
    Spread(static_cast<int64_t>(bytes / 4), kSerial, [=](int64_t at, int64_t count) { RaiseFloats(numbers + at, count, low); });
  } else {
    auto* numbers = static_cast<float*>(data);
    Spread(static_cast<int64_t>(bytes / 4), kSerial, [=](int64_t at, int64_t count) { ClipFloats(numbers + at, count, low, high); });
  }
}

}  // namespace collage::onednn
