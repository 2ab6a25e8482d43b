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

// The error function as a quotient of polynomials, as XLA has it (the coefficients are Eigen's), right to 4e-7.
COLLAGE_CLONES void GeluFloats(float* data, int64_t count) {
  constexpr float kRootHalf = 0.70710678118654752f, kLargest = 3.832506856900711f;
  for (int64_t i = 0; i < count; ++i) {
    const float x = data[i];
    float z = x * kRootHalf;
    z = z < -kLargest ? -kLargest : z;
    z = z > kLargest ? kLargest : z;
    const float s = z * z;
    float p = 2.2905065861350646e-4f;
    p = p * s + 3.4082910107109506e-3f;
    p = p * s + 5.0955695062380861e-2f;
    p = p * s + 1.8520832239976145e-1f;
    p = p * s + 1.128379143519084f;
    float q = -1.1791602954361697e-7f;
    q = q * s + 2.3547966471313185e-5f;
    q = q * s + 1.0179625278914885e-3f;
    q = q * s + 1.4070470171167667e-2f;
    q = q * s + 1.1098505178285362e-1f;
    q = q * s + 4.9746925110067538e-1f;
    q = q * s + 1.0f;
    float erf = z * p / q;
    erf = erf < -1.0f ? -1.0f : erf;
    erf = erf > 1.0f ? 1.0f : erf;
    data[i] = 0.5f * x * (1.0f + erf);
  }
}

COLLAGE_CLONES void GateFloats(float* data, int64_t count, const float* gate) {
  for (int64_t i = 0; i < count; ++i) data[i] = gate[i] > 0 ? data[i] : 0.0f;
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
  Finish finish{Finish::kGelu};
  if (parts.size() == 3 && parts[0] == "clip")
    finish = {Finish::kClip, ParseFloat(parts[1], where), ParseFloat(parts[2], where)};
  else if (text == "gate")
    finish = {Finish::kGate};
  else if (text != "gelu")
    throw SpecError("bad token `" + where + "`: clip:<low>:<high>, gelu or gate");
  size_t dense = dnnl::memory::data_type_size(result.get_data_type());
  for (int64_t dim : result.get_dims()) dense *= dim;
  if (result.get_size() != dense) throw SpecError("bad token `" + where + "`: the result has gaps");
  const bool narrow = result.get_data_type() == dnnl_type::bf16;
  if (result.get_data_type() != dnnl_type::f32 && !(narrow && finish.kind == Finish::kClip))
    throw SpecError("bad token `" + where + "`: the result is not f32" +
                    (finish.kind == Finish::kClip ? " and not bf16" : ""));
  if (narrow && !(IsBfloat(finish.low) && IsBfloat(finish.high)))
    throw SpecError("bad token `" + where + "`: the bounds are no bfloat16 numbers");
  return finish;
}

void RunFinish(const Finish& finish, dnnl::memory::data_type type, void* data, size_t bytes, const void* gate) {
  if (finish.kind == Finish::kNone) return;
  const float low = finish.low, high = finish.high;
  if (type == dnnl::memory::data_type::bf16) {
    auto* numbers = static_cast<uint16_t*>(data);
    return Spread(static_cast<int64_t>(bytes / 2), kSerial,
                  [=](int64_t at, int64_t count) { ClipBfloats(numbers + at, count, low, high); });
  }
  auto* numbers = static_cast<float*>(data);
  Spread(static_cast<int64_t>(bytes / 4), kSerial, [=](int64_t at, int64_t count) {
    if (finish.kind == Finish::kGate)
      GateFloats(numbers + at, count, static_cast<const float*>(gate) + at);
    else if (finish.kind == Finish::kGelu)
      GeluFloats(numbers + at, count);
    else if (std::isinf(high))
      RaiseFloats(numbers + at, count, low);
    else
      ClipFloats(numbers + at, count, low, high);
  });
}

}  // namespace collage::onednn
