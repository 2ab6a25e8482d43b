#include "problem.h"

#include <algorithm>
#include <limits>

namespace collage::sgemm {
namespace {

void ReadRows(Tokens& tokens, Problem& p) {
  const auto sizes = tokens.Numbers("rows", 4, 1), steps = tokens.Numbers("steps", 4, 0);
  std::copy(sizes.begin(), sizes.end(), p.row_sizes.begin());
  std::copy(steps.begin(), steps.end(), p.row_steps.begin());
  p.source_size = tokens.Numbers("source", 1, 1)[0];
  RequireSize("rows", {sizes[0], sizes[1], sizes[2], sizes[3]});
  if (sizes[0] * sizes[1] * sizes[2] * sizes[3] != p.rows) throw SpecError("rows and sizes differ in number");
  p.depth_step = tokens.Has("across") ? tokens.Numbers("across", 1, 1)[0] : 1;
  if (p.depth_step != 1 && (p.row_sizes[3] != p.rows || p.row_steps[3] != 1))
    throw SpecError("rows with numbers across=" + std::to_string(p.depth_step) + " must start next to each other");
  double end = static_cast<double>(p.depth - 1) * static_cast<double>(p.depth_step) + 1;
  for (int i = 0; i < 4; ++i) end += static_cast<double>(sizes[i] - 1) * static_cast<double>(steps[i]);
  if (end > static_cast<double>(p.source_size)) throw SpecError("the last row ends outside the source");
}

}  // namespace

Problem ParseProblem(std::string_view spec) {
  Tokens tokens(spec);
  Problem p{};
  const std::string op = tokens.Take("op");
  if (op != "product" && op != "pack") Reject("op=" + op, "product or pack");
  p.packs = op == "pack";
  const auto sizes = tokens.Numbers("sizes", 3, 1), weights = tokens.Numbers("weights", 2, 1);
  p.rows = sizes[0], p.depth = sizes[1], p.columns = sizes[2];
  p.weights_row = weights[0], p.weights_column = weights[1];
  RequireSize("the weights", {p.depth, p.columns + kVector});
  p.result_row = tokens.Row(p.columns);
  RequireSize("the result", {p.rows, p.result_row + kVector});
  RequireSize("the product", {p.rows, p.depth + p.columns + kVector});
  if (weights != std::vector<int64_t>{p.columns, 1} && weights != std::vector<int64_t>{1, p.depth})
    throw SpecError("the weights must be dense: weights=" + std::to_string(p.columns) + "x1 or weights=1x" +
                    std::to_string(p.depth));
  ReadRows(tokens, p);
  p.bias = tokens.Flag("bias"), p.add = tokens.Flag("add");
  p.gate = tokens.Has("gate") && tokens.Flag("gate");
  const float scale = tokens.Float("scale"), infinity = std::numeric_limits<float>::infinity();
  const float floor = tokens.Float("floor"), low = tokens.Float("low"), high = tokens.Float("high");
  p.tail = {scale, floor, low, high, scale != 1, floor != -infinity, low != -infinity, high != infinity};
  p.packed = tokens.Flag("packed");
  if (tokens.Has("isa")) p.isa = tokens.Take("isa");
  tokens.RequireAllTaken();
  return p;
}

}  // namespace collage::sgemm
