// post=: what a primitive does to each result element before it stores it.
#pragma once

#include <dnnl.hpp>
#include <string_view>
#include <vector>

#include "recipe.h"

namespace collage::onednn {

dnnl::algorithm EltwiseAlgorithm(std::string_view name, std::string_view where);
dnnl::algorithm BinaryAlgorithm(std::string_view name, std::string_view where);

struct PostOps {
  dnnl::primitive_attr attr;           // scratchpad in user mode, always
  std::vector<Tensor> operands;        // the binary post-ops' tensors, in their order
  bool has_sum = false;

  // Completes a recipe whose own operands are all in place.
  void AppendTo(Recipe& recipe) const;
};

// Items joined by `|`: eltwise:<alg>:<alpha>:<beta>, sum:<scale>, binary:<alg>:<memory>.
PostOps ReadPostOps(Spec& spec);

dnnl::primitive_attr PlainAttributes();

}  // namespace collage::onednn
