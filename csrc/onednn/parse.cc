#include "parse.h"

#include <algorithm>
#include <utility>

namespace collage::onednn {
namespace {

using dnnl::memory;

memory::data_type ParseType(std::string_view name, std::string_view where) {
  using type = memory::data_type;
  constexpr std::pair<std::string_view, type> kTypes[] = {{"f32", type::f32}, {"bf16", type::bf16}, {"f16", type::f16},
                                                          {"s32", type::s32}, {"s8", type::s8},     {"u8", type::u8}};
  for (const auto& [known, value] : kTypes)
    if (name == known) return value;
  Reject(where, "`" + std::string(name) + "` is not one of f32, bf16, f16, s32, s8, u8");
}

// Floating point cannot overflow, and is exact for every size that exists.
constexpr double kMostElements = 1LL << 47;

double Elements(const memory::dims& dims) {
  double count = 1;
  for (int64_t dim : dims) count *= static_cast<double>(dim);
  return count;
}

// Elements from the first to the last. oneDNN's get_size() also counts the stride of a dimension of size one.
double Span(const memory::dims& dims, const memory::dims& strides) {
  double last = 0;
  for (size_t axis = 0; axis < dims.size(); ++axis) {
    if (dims[axis] == 0) return 0;
    last += static_cast<double>(dims[axis] - 1) * static_cast<double>(strides[axis]);
  }
  return last + 1;
}

size_t ElementBytes(const memory::desc& desc) { return memory::data_type_size(desc.get_data_type()); }

}  // namespace

void Reject(std::string_view where, const std::string& why) {
  throw SpecError("bad token `" + std::string(where) + "`: " + why);
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

memory::dims ParseDims(std::string_view text, std::string_view where) {
  memory::dims dims;
  for (std::string_view part : Split(text, 'x')) dims.push_back(ParseNumber<int64_t>(part, where, "an integer"));
  return dims;
}

bool AnyBelow(const memory::dims& dims, int64_t least) {
  return std::any_of(dims.begin(), dims.end(), [least](int64_t dim) { return dim < least; });
}

memory::desc ParseMemory(std::string_view text, std::string_view where, bool allow_any) {
  auto parts = Split(text, ':');
  if (parts.size() != 3) Reject(where, "a memory is dtype:dims:strides");
  auto type = ParseType(parts[0], where);
  auto dims = ParseDims(parts[1], where);
  if (dims.size() > DNNL_MAX_NDIMS) Reject(where, "more than " + std::to_string(DNNL_MAX_NDIMS) + " dimensions");
  if (AnyBelow(dims, 0)) Reject(where, "a negative dimension");
  const bool any = allow_any && parts[2] == "any";
  auto strides = any ? memory::dims(dims.size(), 0) : ParseDims(parts[2], where);
  if (strides.size() != dims.size()) Reject(where, "as many strides as dimensions are needed");
  if (AnyBelow(strides, 0)) Reject(where, "a negative stride");
  if (Elements(dims) > kMostElements || Span(dims, strides) > kMostElements) Reject(where, "larger than any memory");
  return any ? memory::desc(dims, type, memory::format_tag::any) : memory::desc(dims, type, strides);
}

size_t DenseBytes(const memory::desc& desc) {
  return ElementBytes(desc) * static_cast<size_t>(Elements(desc.get_dims()));
}

size_t SpanBytes(const memory::desc& desc) {
  return ElementBytes(desc) * static_cast<size_t>(Span(desc.get_dims(), desc.get_strides()));
}

}  // namespace collage::onednn
