#include "problem.h"

#include <map>

namespace collage::rows {

Problem ParseProblem(std::string_view spec) {
  static const std::map<std::string, Op> kOps = {{"norm", Op::kNorm},
                                                 {"softmax", Op::kSoftmax},
                                                 {"norm_gradient", Op::kNormGradient},
                                                 {"scale_gradient", Op::kScaleGradient},
                                                 {"softmax_gradient", Op::kSoftmaxGradient}};
  Tokens tokens(spec);
  Problem p{};
  const std::string op = tokens.Take("op");
  const auto found = kOps.find(op);
  if (found == kOps.end()) Reject("op=" + op, "norm or softmax, norm_gradient, scale_gradient or softmax_gradient");
  p.op = found->second;
  p.rows = tokens.Numbers("rows", 1, 1)[0], p.columns = tokens.Numbers("columns", 1, 1)[0];
  RequireSize("the array", {p.rows, p.columns});
  if (p.op != Op::kSoftmax && p.op != Op::kSoftmaxGradient) {
    const bool unbiased = tokens.Flag("unbiased");
    if (unbiased && p.columns < 2) throw SpecError("an unbiased variance takes two columns or more");
    p.norm.inverse_count = 1 / static_cast<float>(p.columns - (unbiased ? 1 : 0));
    p.norm.epsilon = tokens.Float("epsilon");
    p.norm.centred = tokens.Flag("centred"), p.norm.outside = tokens.Flag("outside");
  }
  if (p.op == Op::kNorm || p.op == Op::kNormGradient) p.scale = tokens.Flag("scale");
  if (p.op == Op::kNorm) p.shift = tokens.Flag("shift");
  if (p.op == Op::kNormGradient || p.op == Op::kSoftmaxGradient)
    p.factor = tokens.Float("factor"), p.added = tokens.Flag("added");
  if (tokens.Has("isa")) p.isa = tokens.Take("isa");
  tokens.RequireAllTaken();
  return p;
}

}  // namespace collage::rows
