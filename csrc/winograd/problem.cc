#include "problem.h"

#include <charconv>
#include <map>
#include <string>
#include <vector>

#include "kernels.h"

namespace collage::winograd {
namespace {

constexpr int64_t kLargest = int64_t{1} << 40;  // elements of any array; products of two sizes then fit

[[noreturn]] void Reject(const std::string& token, const std::string& why) {
  throw SpecError("bad token `" + token + "`: " + why);
}

class Tokens {
 public:
  explicit Tokens(std::string_view text) {
    while (!text.empty()) {
      const size_t end = std::min(text.find(' '), text.size());
      const std::string token(text.substr(0, end));
      text.remove_prefix(std::min(end + 1, text.size()));
      const size_t equals = token.find('=');
      if (equals == std::string::npos) Reject(token, "a token is key=value");
      if (!values_.emplace(token.substr(0, equals), token.substr(equals + 1)).second) Reject(token, "given twice");
    }
  }

  std::string Take(const std::string& key) {
    auto found = values_.extract(key);
    if (found.empty()) throw SpecError("missing token `" + key + "=`");
    return found.mapped();
  }

  bool Has(const std::string& key) const { return values_.count(key) > 0; }

  // Integers joined by x, none below `least`.
  std::vector<int64_t> Numbers(const std::string& key, size_t count, int64_t least) {
    const std::string text = Take(key), token = key + "=" + text;
    std::vector<int64_t> numbers;
    for (const char *at = text.data(), *end = at + text.size();; ++at) {
      int64_t number = 0;
      const auto [next, error] = std::from_chars(at, end, number);
      if (error != std::errc() || (next != end && *next != 'x')) Reject(token, "integers joined by x are needed");
      if (number < least || number > kLargest) Reject(token, std::to_string(number) + " is out of range");
      numbers.push_back(number);
      at = next;
      if (at == end) break;
    }
    if (numbers.size() != count) Reject(token, std::to_string(count) + " numbers are needed");
    return numbers;
  }

  bool Flag(const std::string& key) {
    const int64_t value = Numbers(key, 1, 0)[0];
    if (value > 1) Reject(key + "=" + std::to_string(value), "0 or 1 is needed");
    return value == 1;
  }

  void RequireAllTaken() const {
    if (!values_.empty()) Reject(values_.begin()->first + "=" + values_.begin()->second, "there is no such option");
  }

 private:
  std::map<std::string, std::string> values_;
};

void RequireSize(const char* what, std::initializer_list<int64_t> sizes) {
  double elements = 1;
  for (int64_t size : sizes) elements *= static_cast<double>(size);
  if (elements > static_cast<double>(kLargest)) throw SpecError(std::string(what) + " is larger than any memory");
}

}  // namespace

Problem ParseProblem(std::string_view spec) {
  Tokens tokens(spec);
  Problem p{};
  const std::string op = tokens.Take("op");
  if (op != "conv" && op != "pack") Reject("op=" + op, "conv or pack");
  p.packs = op == "pack";
  const int64_t tile = tokens.Numbers("tile", 1, 0)[0];
  if (tile != 2 && tile != 4) Reject("tile=" + std::to_string(tile), "2 or 4");
  p.tile = static_cast<int>(tile);
  const auto src = tokens.Numbers("src", 5, 1), dst = tokens.Numbers("dst", 5, 1);
  const auto along_depth = tokens.Numbers("depth", 3, 1), pads = tokens.Numbers("pads", 3, -kLargest);
  p.batch = src[0], p.depth = src[1], p.height = src[2], p.width = src[3], p.channels = src[4];
  p.out_depth = dst[1], p.out_height = dst[2], p.out_width = dst[3], p.out_channels = dst[4];
  p.kernel_depth = along_depth[0], p.stride_depth = along_depth[1], p.dilation_depth = along_depth[2];
  p.pad_depth = pads[0], p.pad_height = pads[1], p.pad_width = pads[2];
  p.bias = tokens.Flag("bias"), p.add = tokens.Flag("add"), p.relu = tokens.Flag("relu");
  p.packed = tokens.Flag("packed");
  if (tokens.Has("isa")) p.isa = tokens.Take("isa");
  tokens.RequireAllTaken();

  if (src[0] != dst[0]) throw SpecError("src and dst differ in their first size, the batch");
  if (p.channels % kVector != 0 || p.out_channels % kVector != 0)
    throw SpecError("Winograd here takes channels in multiples of " + std::to_string(kVector) + ", got " +
                    std::to_string(p.channels) + " in and " + std::to_string(p.out_channels) + " out");
  RequireSize("src", {p.batch, p.depth, p.height, p.width, p.channels});
  RequireSize("dst", {p.batch, p.out_depth, p.out_height, p.out_width, p.out_channels});
  RequireSize("the transformed kernel", {p.kernel_depth, p.points(), p.channels, p.out_channels});
  return p;
}

}  // namespace collage::winograd
