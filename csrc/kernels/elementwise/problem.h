// What one call computes, and its text form: space-separated key=value tokens, for example
//   op=elementwise dims=2 sizes=784x64 shape=784x64 reads=2 of0=50176 at0=0 by0=64x1 of1=501760 at1=64 by1=640x1
//     code=r0,r1,n0.5,mul:0:1,sub:3:2
//   op=elementwise dims=3 sizes=28x28x8 shape=30x30x8 low=1x1x0 gap=1x1x1 fill=0.0 reads=1 of0=6272 at0=0 by0=224x8x1
//     code=r0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "../../tokens.h"
#include "kernels.h"

namespace collage::elementwise {

// An array of `elements`: the element for an index i begins at `offset` and moves by `strides`, which may be 0 or less.
struct Read {
  int64_t elements, offset;
  std::vector<int64_t> strides;
};

// The result has `shape` and is dense. The program computes an array of `sizes`; its element i is at low + i * gap of
// the result in each dimension. Everywhere else the result is `fill`.
struct Problem {
  std::vector<int64_t> sizes, shape, low, gap;
  float fill = 0;
  std::vector<Read> reads;
  std::vector<Instruction> code;  // the last makes the result
  std::string isa;                // which kernels, "avx512" or "avx2"; else the best

  int64_t elements() const;                  // of the result
  int64_t packed_size() const { return 0; }  // nothing is packed ahead
};

// Throws SpecError, naming the token or the reason.
Problem ParseProblem(std::string_view spec);

}  // namespace collage::elementwise
