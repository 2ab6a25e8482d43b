#include "launch.h"

#include <algorithm>
#include <charconv>
#include <stdexcept>

namespace collage::cuda {
namespace {

// "CUDA C++ Programming Guide", technical specifications by compute capability; the same for all from 5.0 on.
constexpr std::array<int64_t, 3> kGrid = {2147483647, 65535, 65535};
constexpr std::array<int64_t, 3> kBlock = {1024, 1024, 64};
constexpr int64_t kThreads = 1024;

struct Dtype {
  std::string_view name;
  size_t bytes;
};

constexpr Dtype kDtypes[] = {
    {"bool", 1},     {"int8", 1},     {"int16", 2},    {"int32", 4},   {"int64", 8},     {"uint8", 1},
    {"uint16", 2},   {"uint32", 4},   {"uint64", 8},   {"float16", 2}, {"bfloat16", 2},  {"float32", 4},
    {"float64", 8},  {"complex64", 8}, {"complex128", 16},
};

std::string Text(const std::vector<int64_t>& sizes) {
  std::string text;
  for (int64_t size : sizes) text += (text.empty() ? "" : " x ") + std::to_string(size);
  return text;
}

[[noreturn]] void Reject(const std::string& message) { throw std::invalid_argument(message); }

std::array<unsigned, 3> Sizes(const char* what, const std::vector<int64_t>& sizes,
                              const std::array<int64_t, 3>& limit) {
  std::array<unsigned, 3> found = {};
  if (sizes.size() != 3) Reject(std::string("a ") + what + " has three sizes, got " + Text(sizes));
  for (size_t i = 0; i < 3; ++i) {
    if (sizes[i] < 1 || sizes[i] > limit[i])
      Reject(std::string("size ") + "xyz"[i] + " of a " + what + " is 1 to " + std::to_string(limit[i]) + ", got " +
             Text(sizes) + "; give another " + what + ", or leave such shapes out by `where`");
    found[i] = static_cast<unsigned>(sizes[i]);
  }
  return found;
}

size_t Number(std::string_view word, std::string_view digits) {
  size_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size())
    Reject("bad parameter `" + std::string(word) + "`: a number is needed");
  return number;
}

Parameter Value(std::string_view word) {
  const size_t colon = word.find(':');
  const auto name = word.substr(0, colon);
  const auto dtype =
      std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const Dtype& known) { return known.name == name; });
  if (colon == std::string_view::npos || dtype == std::end(kDtypes))
    Reject("bad parameter `" + std::string(word) + "`: in0, out0, null, or dtype:bytes of a scalar is needed");
  const auto digits = word.substr(colon + 1);
  if (digits.size() != 2 * dtype->bytes)
    Reject("bad parameter `" + std::string(word) + "`: " + std::to_string(dtype->bytes) + " bytes are needed");
  Parameter parameter = {Parameter::kValue};
  for (size_t i = 0; i < dtype->bytes; ++i) {
    const char* at = digits.data() + 2 * i;
    const auto [end, error] = std::from_chars(at, at + 2, parameter.value[i], 16);
    if (error != std::errc() || end != at + 2)
      Reject("bad parameter `" + std::string(word) + "`: bytes are in hexadecimal");
  }
  return parameter;
}

Parameter Parse(std::string_view word) {
  if (word == "null") return {Parameter::kValue};
  if (word.substr(0, 3) == "out") return {Parameter::kResult, Number(word, word.substr(3))};
  if (word.substr(0, 2) == "in" && word.find(':') == std::string_view::npos)
    return {Parameter::kOperand, Number(word, word.substr(2))};
  return Value(word);
}

}  // namespace

Launch::Launch(std::string_view name, const std::vector<int64_t>& grid, const std::vector<int64_t>& block,
               int64_t shared, int64_t shared_limit, std::string_view parameters)
    : name_(name), grid_(Sizes("grid", grid, kGrid)), block_(Sizes("block", block, kBlock)) {
  if (name.empty()) Reject("a kernel has a name, got none");
  if (const int64_t threads = block[0] * block[1] * block[2]; threads > kThreads)
    Reject("a block has at most " + std::to_string(kThreads) + " threads, got " + Text(block) + " = " +
           std::to_string(threads) + "; give a smaller block and a larger grid");
  if (shared < 0 || shared > shared_limit)
    Reject("a block can have 0 to " + std::to_string(shared_limit) +
           " bytes of dynamic shared memory on this device, got " + std::to_string(shared) +
           "; let a block work on less at a time");
  shared_ = static_cast<unsigned>(shared);
  while (!parameters.empty()) {
    const size_t end = std::min(parameters.find(' '), parameters.size());
    parameters_.push_back(Parse(parameters.substr(0, end)));
    parameters.remove_prefix(std::min(end + 1, parameters.size()));
  }
}

void Launch::Run(const Driver& driver, Function function, Stream stream, const std::vector<void*>& operands,
                 const std::vector<void*>& results) const {
  std::vector<Parameter> values = parameters_;
  std::vector<void*> addresses;
  for (Parameter& parameter : values) {
    if (parameter.kind != Parameter::kValue) {
      const bool is_operand = parameter.kind == Parameter::kOperand;
      const auto& arrays = is_operand ? operands : results;
      if (parameter.index >= arrays.size())
        Reject("kernel " + name_ + " reads " + (is_operand ? "operand " : "result ") +
               std::to_string(parameter.index) + ", and the call has " + std::to_string(arrays.size()));
      const void* address = arrays[parameter.index];
      std::copy_n(reinterpret_cast<const unsigned char*>(&address), sizeof(address), parameter.value.begin());
    }
    addresses.push_back(parameter.value.data());
  }
  Check(driver,
        driver.cuLaunchKernel(function, grid_[0], grid_[1], grid_[2], block_[0], block_[1], block_[2], shared_, stream,
                              addresses.data(), nullptr),
        "launching kernel " + name_);
}

}  // namespace collage::cuda
