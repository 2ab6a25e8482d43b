#include "problem.h"

namespace collage::concat {
namespace {

constexpr int64_t kMostParts = 1 << 16;

}  // namespace

Problem ParseProblem(std::string_view spec) {
  Tokens tokens(spec);
  Problem p{};
  if (const std::string op = tokens.Take("op"); op != "place") Reject("op=" + op, "place");
  p.rows = tokens.Numbers("rows", 1, 1)[0];
  const int64_t parts = tokens.Numbers("parts", 1, 1)[0];
  if (parts > kMostParts) Reject("parts=" + std::to_string(parts), "there are too many");
  p.columns = tokens.Numbers("columns", parts, 1), p.offsets = tokens.Numbers("offsets", parts, 0);
  p.row = tokens.Row(1);
  for (int64_t i = 0; i < parts; ++i)
    if (p.offsets[i] + p.columns[i] > p.row)
      throw SpecError("part " + std::to_string(i) + " ends outside a row of " + std::to_string(p.row));
  RequireSize("the result", {p.rows, p.row});
  tokens.RequireAllTaken();
  return p;
}

}  // namespace collage::concat
