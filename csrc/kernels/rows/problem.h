// What one call computes, and its text form: space-separated key=value tokens, for example
//   op=norm rows=64 columns=256 centred=1 unbiased=1 epsilon=1e-06 outside=1 scale=1 shift=1
//   op=softmax rows=512 columns=64
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "../../tokens.h"
#include "kernels.h"

namespace collage::rows {

struct Problem {
  bool softmax;
  int64_t rows, columns;
  Norm norm;
  bool scale, shift;
  std::string isa;  // which kernels, "avx512" or "avx2"; else the best

  int64_t size() const { return rows * columns; }
  int64_t packed_size() const { return 0; }  // nothing is packed ahead
};

// Throws SpecError, naming the token or the reason.
Problem ParseProblem(std::string_view spec);

}  // namespace collage::rows
