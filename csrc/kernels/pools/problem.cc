#include "problem.h"

#include <algorithm>

namespace collage::pools {

Problem ParseProblem(std::string_view spec) {
  Tokens tokens(spec);
  Problem p{};
  const std::string op = tokens.Take("op");
  if (op != "max" && op != "min" && op != "sum") Reject("op=" + op, "max, min or sum");
  p.op = op == "max" ? Problem::Op::kMax : op == "min" ? Problem::Op::kMin : Problem::Op::kSum;
  auto sizes = [&](const char* key, int64_t least) {
    const std::vector<int64_t> numbers = tokens.Numbers(key, 3, least);
    return Sizes{numbers[0], numbers[1], numbers[2]};
  };
  p.outer = tokens.Numbers("outer", 1, 1)[0], p.inner = tokens.Numbers("inner", 1, 1)[0];
  p.size = sizes("size", 1), p.result = sizes("result", 1), p.window = sizes("window", 1);
  p.strides = sizes("strides", 1), p.low = sizes("low", 0);
  tokens.RequireAllTaken();
  RequireSize("the source", {p.outer, p.size[0], p.size[1], p.size[2], p.inner});
  RequireSize("the result", {p.outer, p.result[0], p.result[1], p.result[2], p.inner});
  RequireSize("a window", {p.window[0], p.window[1], p.window[2]});
  for (int axis = 0; axis < 3; ++axis) RequireSize("the padded source", {p.result[axis], p.strides[axis]});
  return p;
}

}  // namespace collage::pools
