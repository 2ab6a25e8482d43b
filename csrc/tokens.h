// The text of a spec: key=value tokens, each taken once by who reads it.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace collage {

// A token that cannot be read; the message names it.
struct SpecError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

constexpr int64_t kLargest = int64_t{1} << 40;  // elements of any array; products of two sizes then fit

[[noreturn]] inline void Reject(const std::string& token, const std::string& why) {
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

  // A number of the program, as Python or C write it; infinite, but never NaN.
  float Float(const std::string& key) {
    const std::string text = Take(key);
    double number = 0;
    const auto [next, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || next != text.data() + text.size() || number != number)
      Reject(key + "=" + text, "a number is needed");
    return static_cast<float>(number);
  }

  // From a row of the result to the next, which other arrays may lie between: `columns` unless the token `row` says more.
  int64_t Row(int64_t columns) { return Has("row") ? Numbers("row", 1, columns)[0] : columns; }

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

// Throws unless an array of these sizes can exist.
inline void RequireSize(const char* what, std::initializer_list<int64_t> sizes) {
  double elements = 1;
  for (int64_t size : sizes) elements *= static_cast<double>(size);
  if (elements > static_cast<double>(kLargest)) throw SpecError(std::string(what) + " is larger than any memory");
}

}  // namespace collage
