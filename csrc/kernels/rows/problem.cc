#include "problem.h"

namespace collage::rows {

Problem ParseProblem(std::string_view spec) {
  Tokens tokens(spec);
  Problem p{};
  const std::string op = tokens.Take("op");
  if (op != "norm" && op != "softmax") Reject("op=" + op, "norm or softmax");
  p.softmax = op == "softmax";
  p.rows = tokens.Numbers("rows", 1, 1)[0], p.columns = tokens.Numbers("columns", 1, 1)[0];
  RequireSize("the array", {p.rows, p.columns});
  if (!p.softmax) {
    const bool unbiased = tokens.Flag("unbiased");
    if (unbiased && p.columns < 2) throw SpecError("an unbiased variance takes two columns or more");
    p.norm.inverse_count = 1 / static_cast<float>(p.columns - (unbiased ? 1 : 0));
    p.norm.epsilon = tokens.Float("epsilon");
    p.norm.centred = tokens.Flag("centred"), p.norm.outside = tokens.Flag("outside");
    p.scale = tokens.Flag("scale"), p.shift = tokens.Flag("shift");
  }
  if (tokens.Has("isa")) p.isa = tokens.Take("isa");
  tokens.RequireAllTaken();
  return p;
}

}  // namespace collage::rows
