// What one call computes, and its text form: space-separated key=value tokens, for example
//   op=attention heads=1x8 sizes=64x64x32x32 q=16384x32x256 k=16384x32x256x1 v=16384x32x256x1 result=16384x32x256
//   elements=16384x16384x16384x16384 scale=0.17677669 mask=none
// With a mask: mask=bias or mask=keep, mask_steps=0x0x64x1 mask_elements=4096, and fill=-inf for the latter.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "../../tokens.h"
#include "../sgemm/kernels.h"

namespace collage::attention {

enum class Masking { kNone, kBias, kKeep };  // added to the scores, or where it is 0 `fill` takes their place

// For each head, which has an index in each of two dimensions: softmax(scale q k^T, masked) v. The rows of q are
// `queries`, those of k and v are `keys`; q and k are `depth` wide, v and the result are `width`. Steps are distances in
// elements: of the two dimensions of heads, of rows and, where they are not 1, of columns.
struct Problem {
  std::array<int64_t, 2> heads;
  int64_t queries, keys, depth, width;
  std::array<int64_t, 3> q, result;
  std::array<int64_t, 4> k, v, mask_steps;
  std::array<int64_t, 4> elements;  // of q, k, v and the result
  float scale;
  Masking masking;
  int64_t mask_elements;
  float fill;
  std::string isa;  // which kernels, "avx512" or "avx2"; else the best

  int64_t packed_size() const { return 0; }  // nothing is packed ahead
};

// Throws SpecError, naming the token or the reason.
Problem ParseProblem(std::string_view spec);

}  // namespace collage::attention
