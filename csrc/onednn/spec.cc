#include "spec.h"

#include <algorithm>

namespace collage::onednn {
namespace {

using dnnl::memory;

constexpr int kMostThreads = 1024;

std::string Where(std::string_view key, std::string_view value) { return std::string(key) + "=" + std::string(value); }

}  // namespace

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
  if (token == nullptr)
    throw SpecError("missing token `" + std::string(key) + "=`" + (op_.empty() ? "" : " of op=" + op_));
  token->read = true;
  return token->value;
}

std::string_view Spec::TextOr(std::string_view key, std::string_view fallback) {
  return Has(key) ? Text(key) : fallback;
}

int Spec::Axis(std::string_view key, const memory::desc& desc) {
  const auto axis = ParseNumber<int>(Text(key), Where(key, Text(key)), "an axis");
  if (axis < 0 || axis >= desc.get_ndims()) Reject(Where(key, Text(key)), "no such dimension");
  return axis;
}

int Spec::Threads() {
  if (!Has("threads")) return 0;
  const std::string_view text = Text("threads");
  const auto threads = ParseNumber<int>(text, Where("threads", text), "a number of threads");
  if (threads < 1 || threads > kMostThreads) Reject(Where("threads", text), "1 to " + std::to_string(kMostThreads));
  return threads;
}

float Spec::Float(std::string_view key) { return ParseFloat(Text(key), Where(key, Text(key))); }

float Spec::FloatOr(std::string_view key, float fallback) { return Has(key) ? Float(key) : fallback; }

bool Spec::FlagOr(std::string_view key, bool fallback) {
  if (!Has(key)) return fallback;
  auto text = Text(key);
  if (text != "0" && text != "1") Reject(Where(key, text), "0 or 1 is needed");
  return text == "1";
}

bool Spec::ChoosesInner() {
  const std::string_view inner = TextOr("inner", "given");
  if (inner != "any" && inner != "given") Reject(Where("inner", inner), "any or given");
  return inner == "any";
}

memory::dims Spec::Window(std::string_view key, const memory::desc& src, int64_t least) {
  auto dims = ParseDims(Text(key), Where(key, Text(key)));
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

memory::desc Spec::Memory(std::string_view key, bool allow_any) {
  return ParseMemory(Text(key), Where(key, Text(key)), allow_any);
}

memory::desc Spec::MemoryWithStrides(std::string_view key, std::string_view strides_key) {
  const std::string_view text = Text(key), strides = Text(strides_key);
  const size_t own_strides = text.rfind(':') + 1;
  return ParseMemory(std::string(text.substr(0, own_strides)) + std::string(strides), Where(strides_key, strides));
}

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
