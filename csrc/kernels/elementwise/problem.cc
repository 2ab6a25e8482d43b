#include "problem.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>

namespace collage::elementwise {
namespace {

constexpr size_t kMostDims = 12;

struct Form {
  Op op;
  int operands;
  bool makes_truth;
};

const std::map<std::string, Form>& Forms() {
  static const std::map<std::string, Form> forms = {
      {"add", {Op::kAdd, 2, false}},  {"sub", {Op::kSub, 2, false}},   {"mul", {Op::kMul, 2, false}},
      {"div", {Op::kDiv, 2, false}},  {"max", {Op::kMax, 2, false}},   {"min", {Op::kMin, 2, false}},
      {"neg", {Op::kNeg, 1, false}},  {"abs", {Op::kAbs, 1, false}},   {"sqrt", {Op::kSqrt, 1, false}},
      {"gt", {Op::kGt, 2, true}},     {"ge", {Op::kGe, 2, true}},      {"eq", {Op::kEq, 2, true}},
      {"ne", {Op::kNe, 2, true}},     {"select", {Op::kSelect, 3, false}},
  };
  return forms;
}

std::vector<std::string> Split(const std::string& text, char mark) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(mark, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

int Place(const std::string& text, size_t end, const std::string& word) {
  int place = -1;
  const auto [next, error] = std::from_chars(text.data(), text.data() + text.size(), place);
  if (error != std::errc() || next != text.data() + text.size() || place < 0 || place >= static_cast<int>(end))
    Reject("code=.. " + word, "it needs the place of something before it");
  return place;
}

float Number(const std::string& word) {
  double number = 0;
  const auto [next, error] = std::from_chars(word.data() + 1, word.data() + word.size(), number);
  if (error != std::errc() || next != word.data() + word.size() || number != number)
    Reject("code=.. " + word, "a number is needed after n");
  return static_cast<float>(number);
}

// Instructions are words joined by commas: r<operand>, n<number>, or a name with the places of what it works on.
std::vector<Instruction> Code(const std::string& text, size_t reads) {
  std::vector<Instruction> code;
  std::vector<bool> is_truth;
  for (const std::string& word : Split(text, ',')) {
    Instruction next{};
    bool makes_truth = false;
    if (const auto parts = Split(word, ':'); parts.size() > 1) {
      const auto found = Forms().find(parts[0]);
      if (found == Forms().end() || static_cast<int>(parts.size()) != found->second.operands + 1)
        Reject("code=.. " + word, "there is no such operation of so many numbers");
      next.op = found->second.op, makes_truth = found->second.makes_truth;
      int* const places[] = {&next.a, &next.b, &next.c};
      for (size_t i = 1; i < parts.size(); ++i) {
        const int place = *places[i - 1] = Place(parts[i], code.size(), word);
        if (is_truth[place] != (next.op == Op::kSelect && i == 1))
          Reject("code=.. " + word, "a selection goes by a comparison, everything else works on numbers");
      }
    } else if (word[0] == 'r') {
      next.op = Op::kRead, next.a = Place(word.substr(1), reads, word);
    } else if (word[0] == 'n') {
      next.op = Op::kNumber, next.number = Number(word);
    } else {
      Reject("code=.. " + word, "there is no such instruction");
    }
    code.push_back(next), is_truth.push_back(makes_truth);
  }
  if (code.size() > kMostInstructions) Reject("code=..", "there are more than " + std::to_string(kMostInstructions));
  if (is_truth.back()) Reject("code=..", "the last instruction makes the result, which is of numbers");
  return code;
}

// Throws unless every element is one of the array.
void RequireInside(const Read& read, const std::vector<int64_t>& sizes, const std::string& name) {
  double low = static_cast<double>(read.offset), high = low;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const double reach = static_cast<double>(read.strides[i]) * static_cast<double>(sizes[i] - 1);
    (reach < 0 ? low : high) += reach;
  }
  if (low < 0 || high >= static_cast<double>(read.elements))
    throw SpecError("operand " + name + " is read outside of its " + std::to_string(read.elements) + " elements");
}

}  // namespace

int64_t Problem::elements() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<int64_t>());
}

Problem ParseProblem(std::string_view spec) {
  Tokens tokens(spec);
  Problem p;
  if (const std::string op = tokens.Take("op"); op != "elementwise") Reject("op=" + op, "elementwise");
  const auto dims = static_cast<size_t>(tokens.Numbers("dims", 1, 1)[0]);
  if (dims > kMostDims) Reject("dims=" + std::to_string(dims), "there are too many");
  p.sizes = tokens.Numbers("sizes", dims, 1), p.shape = tokens.Numbers("shape", dims, 1);
  p.low.assign(dims, 0), p.gap.assign(dims, 1);
  const bool is_filled = tokens.Has("fill");
  if (is_filled)
    p.fill = tokens.Float("fill"), p.low = tokens.Numbers("low", dims, 0), p.gap = tokens.Numbers("gap", dims, 1);
  double elements = 1;
  bool is_covered = true;
  for (size_t i = 0; i < dims; ++i) {
    elements *= static_cast<double>(p.shape[i]);
    if (p.low[i] >= p.shape[i] || p.sizes[i] - 1 > (p.shape[i] - 1 - p.low[i]) / p.gap[i])
      throw SpecError("dimension " + std::to_string(i) + " ends outside of the result");
    is_covered = is_covered && p.sizes[i] == p.shape[i];
  }
  if (!is_covered && !is_filled) throw SpecError("the result is larger than what is computed, and there is no `fill=`");
  RequireSize("the result", {static_cast<int64_t>(std::min(elements, 2.0 * kLargest))});
  const auto reads = static_cast<size_t>(tokens.Numbers("reads", 1, 0)[0]);
  if (reads > static_cast<size_t>(kMostReads)) Reject("reads=" + std::to_string(reads), "there are too many");
  for (size_t i = 0; i < reads; ++i) {
    const std::string n = std::to_string(i);
    Read read{tokens.Numbers("of" + n, 1, 1)[0], tokens.Numbers("at" + n, 1, 0)[0],
              tokens.Numbers("by" + n, dims, -kLargest)};
    RequireInside(read, p.sizes, n);
    p.reads.push_back(std::move(read));
  }
  p.code = Code(tokens.Take("code"), reads);
  if (tokens.Has("isa")) p.isa = tokens.Take("isa");
  tokens.RequireAllTaken();
  return p;
}

}  // namespace collage::elementwise
