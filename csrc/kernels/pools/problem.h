// What one call computes, and its text form: space-separated key=value tokens, for example
//   op=max outer=4 size=1x56x56 result=1x28x28 window=1x3x3 strides=1x2x2 low=0x1x1 inner=64
// the gradient of a maximum over windows of 3x3, two apart, of 56x56 places that were padded by one before: to the
// largest of each window (the first of equals) goes what the window's own gradient is. op=min: to the smallest;
// op=sum: to all.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "../../tokens.h"

namespace collage::pools {

using Sizes = std::array<int64_t, 3>;

struct Problem {
  enum class Op { kMax, kMin, kSum } op;
  int64_t outer, inner;  // arrays are [outer, three dimensions of places, inner]
  Sizes size, result, window, strides, low;

  int64_t places() const { return size[0] * size[1] * size[2]; }
  int64_t windows() const { return result[0] * result[1] * result[2]; }
  int64_t packed_size() const { return 0; }  // nothing is packed ahead
};

// Throws SpecError, naming the token or the reason.
Problem ParseProblem(std::string_view spec);

}  // namespace collage::pools
