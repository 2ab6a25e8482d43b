// What one call computes, and its text form: space-separated key=value tokens, for example
//   op=conv src=1x56x56x128 dst=1x28x28x128 kernel=3x3 group=4 strides=2x2 dilation=1x1 pads=1x1 relu=0 bias=1 add=0
//   low=0.0 high=inf packed=1
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "../../tokens.h"
#include "kernels.h"

namespace collage::grouped {

// Pairs are height and width. Pixels that the source does not have, before or after it, are zero.
struct Problem {
  int64_t batch, channels, group;  // of the channels, as many in as out
  std::array<int64_t, 2> src, dst, kernel, strides, dilation, pads;
  int64_t result_row;  // from a pixel of the result to the next
  bool relu;           // of the source
  bool bias, add, gate;
  Tail tail;
  bool packed;      // the weights are given packed
  bool packs;       // packing the weights is all there is to do
  std::string isa;  // which kernels, "avx512" or "avx2"; else the best

  int64_t blocks() const { return (channels + kBlock - 1) / kBlock; }
  int64_t taps() const { return kernel[0] * kernel[1]; }
  // Rows and columns that a result reads, with those between.
  int64_t span(int axis) const { return (kernel[axis] - 1) * dilation[axis] + 1; }

  // Elements.
  int64_t source_size() const { return batch * src[0] * src[1] * channels; }
  int64_t pixels() const { return batch * dst[0] * dst[1]; }
  int64_t summand_size() const { return pixels() * channels; }
  int64_t result_size() const { return (pixels() - 1) * result_row + channels; }
  int64_t weights_size() const { return taps() * group * channels; }
  int64_t packed_size() const { return taps() * group * blocks() * kBlock; }
};

// Throws SpecError, naming the token or the reason.
Problem ParseProblem(std::string_view spec);

}  // namespace collage::grouped
