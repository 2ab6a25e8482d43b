// Reading the values of a spec. `where` is always the token that an error shall name.
#pragma once

#include <charconv>
#include <dnnl.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace collage::onednn {

// A token that cannot be read; the message names it.
struct SpecError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

[[noreturn]] void Reject(std::string_view where, const std::string& why);

std::vector<std::string_view> Split(std::string_view text, char separator);

template <typename T>
T ParseNumber(std::string_view text, std::string_view where, const char* what) {
  T value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    Reject(where, "`" + std::string(text) + "` is not " + what);
  return value;
}

inline float ParseFloat(std::string_view text, std::string_view where) {
  return ParseNumber<float>(text, where, "a number");
}

dnnl::memory::dims ParseDims(std::string_view text, std::string_view where);  // joined by x

bool AnyBelow(const dnnl::memory::dims& dims, int64_t least);

// dtype:dims:strides. Strides `any`, where allowed, leave the layout to the library.
dnnl::memory::desc ParseMemory(std::string_view text, std::string_view where, bool allow_any = false);

// Of a memory with strides: the bytes of its elements, and the bytes from the first to the last.
size_t DenseBytes(const dnnl::memory::desc& desc);
size_t SpanBytes(const dnnl::memory::desc& desc);

}  // namespace collage::onednn
