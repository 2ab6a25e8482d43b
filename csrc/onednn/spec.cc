#include "spec.h"

#include <algorithm>
#include <charconv>

namespace collage::onednn {
namespace {

using dnnl::memory;

[[noreturn]] void Reject(std::string_view where, const std::string& why) {
  throw SpecError("bad token `" + std::string(where) + "`: " + why);
}

template <typename T>
T ParseNumber(std::string_view text, std::string_view where, const char* what) {
  T value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    Reject(where, "`" + std::string(text) + "` is not " + what);
  return value;
}

memory::dims ParseDims(std::string_view text, std::string_view where) {
  memory::dims dims;
  for (std::string_view part : Split(text, 'x')) dims.push_back(ParseNumber<int64_t>(part, where, "an integer"));
  return dims;
}

bool AnyBelow(const memory::dims& dims, int64_t least) {
  return std::any_of(dims.begin(), dims.end(), [least](int64_t dim) { return dim < least; });
}

memory::data_type ParseType(std::string_view name, std::string_view where) {
  using type = memory::data_type;
  constexpr std::pair<std::string_view, type> kTypes[] = {{"f32", type::f32}, {"bf16", type::bf16}, {"f16", type::f16},
                                                          {"s32", type::s32}, {"s8", type::s8},     {"u8", type::u8}};
  for (const auto& [known, value] : kTypes)
    if (name == known) return value;
  Reject(where, "`" + std::string(name) + "` is not one of f32, bf16, f16, s32, s8, u8");
}

}  // namespace

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

float ParseFloat(std::string_view text, std::string_view where) { return ParseNumber<float>(text, where, "a number"); }

memory::desc ParseMemory(std::string_view text, std::string_view where) {
  auto parts = Split(text, ':');
  if (parts.size() != 3) Reject(where, "a memory is dtype:dims:strides");
  auto type = ParseType(parts[0], where);
  auto dims = ParseDims(parts[1], where);
  if (dims.size() > DNNL_MAX_NDIMS) Reject(where, "more than " + std::to_string(DNNL_MAX_NDIMS) + " dimensions");
  if (AnyBelow(dims, 0)) Reject(where, "a negative dimension");
  if (parts[2] == "any") return memory::desc(dims, type, memory::format_tag::any);
  auto strides = ParseDims(parts[2], where);
  if (strides.size() != dims.size()) Reject(where, "as many strides as dimensions are needed");
  if (AnyBelow(strides, 0)) Reject(where, "a negative stride");
  return memory::desc(dims, type, strides);
}

size_t SpanBytes(const memory::desc& desc) {
  // oneDNN's get_size() also counts the stride of a dimension of size one, which no element uses.
  auto dims = desc.get_dims();
  auto strides = desc.get_strides();
  int64_t last = 0;
  for (size_t axis = 0; axis < dims.size(); ++axis) {
    if (dims[axis] == 0) return 0;
    last += (dims[axis] - 1) * strides[axis];
  }
  return (last + 1) * memory::data_type_size(desc.get_data_type());
}

Spec::Spec(std::string_view text) {
  for (std::string_view token : Split(text, ' ')) {
    if (token.empty()) continue;
    size_t equals = token.find('=');
    if (equals == std::string_view::npos) Reject(token, "a token is key=value");
    std::string key(token.substr(0, equals)), value(token.substr(equals + 1));
    if (Find(key) != nullptr) Reject(token, "the key is given twice");
    tokens_.push_back({std::move(key), std::move(value)});
  }
  op_ = Text("op");
}

Spec::Token* Spec::Find(std::string_view key) {
  auto found = std::find_if(tokens_.begin(), tokens_.end(), [&](const Token& token) { return token.key == key; });
  return found == tokens_.end() ? nullptr : &*found;
}

bool Spec::Has(std::string_view key) const { return const_cast<Spec*>(this)->Find(key) != nullptr; }

std::string_view Spec::Text(std::string_view key) {
  Token* token = Find(key);
  if (token == nullptr) throw SpecError("missing token `" + std::string(key) + "=`" + (op_.empty() ? "" : " of op=" + op_));
  token->read = true;
  return token->value;
}

std::string_view Spec::TextOr(std::string_view key, std::string_view fallback) { return Has(key) ? Text(key) : fallback; }

namespace {
std::string Where(std::string_view key, std::string_view value) { return std::string(key) + "=" + std::string(value); }
}  // namespace

int Spec::Axis(std::string_view key, const memory::desc& desc) {
  const auto axis = ParseNumber<int>(Text(key), Where(key, Text(key)), "an axis");
  if (axis < 0 || axis >= desc.get_ndims()) Reject(Where(key, Text(key)), "no such dimension");
  return axis;
}

float Spec::Float(std::string_view key) { return ParseFloat(Text(key), Where(key, Text(key))); }

float Spec::FloatOr(std::string_view key, float fallback) { return Has(key) ? Float(key) : fallback; }

bool Spec::FlagOr(std::string_view key, bool fallback) {
  if (!Has(key)) return fallback;
  auto text = Text(key);
  if (text != "0" && text != "1") Reject(Where(key, text), "0 or 1 is needed");
  return text == "1";
}

memory::dims Spec::Dims(std::string_view key) { return ParseDims(Text(key), Where(key, Text(key))); }

memory::dims Spec::Window(std::string_view key, const memory::desc& src, int64_t least) {
  auto dims = Dims(key);
  if (static_cast<int>(dims.size()) != src.get_ndims() - 2)
    Reject(Where(key, Text(key)), "one number per spatial dimension of src is needed");
  if (AnyBelow(dims, least)) Reject(Where(key, Text(key)), "below " + std::to_string(least));
  return dims;
}

std::vector<float> Spec::Floats(std::string_view key) {
  std::vector<float> values;
  for (auto part : Split(Text(key), 'x')) values.push_back(ParseFloat(part, Where(key, Text(key))));
  return values;
}

memory::desc Spec::Memory(std::string_view key) { return ParseMemory(Text(key), Where(key, Text(key))); }

std::vector<memory::desc> Spec::Memories(std::string_view key) {
  std::vector<memory::desc> descs;
  for (auto part : Split(Text(key), ',')) descs.push_back(ParseMemory(part, Where(key, part)));
  return descs;
}

void Spec::RequireAllRead() const {
  for (const Token& token : tokens_)
    if (!token.read) Reject(Where(token.key, token.value), "op=" + op_ + " has no such option");
}

}  // namespace collage::onednn
