#include "problem.h"

#include <algorithm>
#include <initializer_list>

namespace collage::attention {
namespace {

template <size_t N>
std::array<int64_t, N> Read(Tokens& tokens, const char* key, int64_t least) {
  const std::vector<int64_t> numbers = tokens.Numbers(key, N, least);
  std::array<int64_t, N> array{};
  std::copy(numbers.begin(), numbers.end(), array.begin());
  return array;
}

// Throws if an index times its step, summed up, can be outside an array.
template <size_t N>
void RequireInside(const char* what, const std::array<int64_t, N>& steps, std::initializer_list<int64_t> sizes,
                   int64_t row, int64_t elements) {
  double end = static_cast<double>(row);
  const int64_t* step = steps.data();
  for (int64_t size : sizes) end += static_cast<double>(size - 1) * static_cast<double>(*step++);
  if (end > static_cast<double>(elements)) throw SpecError(std::string(what) + " ends outside its array");
}

}  // namespace

Problem ParseProblem(std::string_view spec) {
  Tokens tokens(spec);
  Problem p{};
  if (const std::string op = tokens.Take("op"); op != "attention") Reject("op=" + op, "attention is needed");
  p.heads = Read<2>(tokens, "heads", 1);
  const auto sizes = Read<4>(tokens, "sizes", 1);
  p.queries = sizes[0], p.keys = sizes[1], p.depth = sizes[2], p.width = sizes[3];
  p.q = Read<3>(tokens, "q", 0), p.result = Read<3>(tokens, "result", 0);
  p.k = Read<4>(tokens, "k", 0), p.v = Read<4>(tokens, "v", 0);
  p.elements = Read<4>(tokens, "elements", 1);
  p.scale = tokens.Float("scale");
  RequireSize("all keys", {p.keys + sgemm::kMostPanel, p.depth + p.width + sgemm::kMostPanel});
  RequireSize("all scores", {p.heads[0], p.heads[1], p.queries, p.keys + sgemm::kMostPanel});
  RequireSize("the result", {p.heads[0], p.heads[1], p.queries, p.width});
  if (p.heads[0] * p.heads[1] * p.queries * p.width != p.elements[3])
    throw SpecError("the result must have a number for each head, row and column");
  RequireInside("q", p.q, {p.heads[0], p.heads[1], p.queries}, p.depth, p.elements[0]);
  RequireInside("k", p.k, {p.heads[0], p.heads[1], p.keys, p.depth}, 1, p.elements[1]);
  RequireInside("v", p.v, {p.heads[0], p.heads[1], p.keys, p.width}, 1, p.elements[2]);
  RequireInside("the result", p.result, {p.heads[0], p.heads[1], p.queries}, p.width, p.elements[3]);
  const std::string mask = tokens.Take("mask");
  if (mask != "none" && mask != "bias" && mask != "keep") Reject("mask=" + mask, "none, bias or keep");
  p.masking = mask == "none" ? Masking::kNone : mask == "bias" ? Masking::kBias : Masking::kKeep;
  if (p.masking != Masking::kNone) {
    p.mask_steps = Read<4>(tokens, "mask_steps", 0);
    p.mask_elements = tokens.Numbers("mask_elements", 1, 1)[0];
    RequireInside("the mask", p.mask_steps, {p.heads[0], p.heads[1], p.queries, p.keys}, 1, p.mask_elements);
  }
  if (p.masking == Masking::kKeep) p.fill = tokens.Float("fill");
  if (tokens.Has("isa")) p.isa = tokens.Take("isa");
  tokens.RequireAllTaken();
  return p;
}

}  // namespace collage::attention
