// What one call computes, and its text form: space-separated key=value tokens, for example
//   op=norm rows=64 columns=256 centred=1 unbiased=1 epsilon=1e-06 outside=1 scale=1 shift=1
//   op=softmax rows=512 columns=64
//   op=norm_gradient rows=64 columns=256 centred=1 unbiased=1 epsilon=1e-06 outside=1 scale=1 factor=1 added=0
//   op=scale_gradient rows=64 columns=256 centred=1 unbiased=1 epsilon=1e-06 outside=1
//   op=softmax_gradient rows=512 columns=64 factor=0.25 added=1
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "../../tokens.h"
#include "kernels.h"

namespace collage::rows {

enum class Op { kNorm, kSoftmax, kNormGradient, kScaleGradient, kSoftmaxGradient };

struct Problem {
  Op op;
  int64_t rows, columns;
  Norm norm;
  bool scale, shift, added;
  float factor = 1;
  std::string isa;  // which kernels, "avx512" or "avx2"; else the best

  int64_t size() const { return rows * columns; }
  int64_t result_size() const { return op == Op::kScaleGradient ? columns : size(); }
  bool is_gradient() const { return op != Op::kNorm && op != Op::kSoftmax; }
  int64_t packed_size() const { return 0; }  // nothing is packed ahead
};

// Throws SpecError, naming the token or the reason.
Problem ParseProblem(std::string_view spec);

}  // namespace collage::rows
