// What one call computes, and its text form: space-separated key=value tokens, for example
//   op=conv columns=128 bias=0 add=1 low=-inf high=inf depthwise: src=1x56x56x64 dst=1x56x56x64 kernel=3x3 group=1
//   strides=1x1 dilation=1x1 pads=1x1 relu=0 packed=1
// What is after `depthwise:` is of grouped, without op and tail. op=pack brings the pointwise weights into panels.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "../sgemm/kernels.h"

namespace collage::separable {

struct Problem {
  std::string depthwise;  // the spec of grouped
  int64_t images, rows, width, channels;  // of what is between the two
  int64_t columns, result_row;            // channels of the result, from a pixel of it to the next
  bool bias, add;
  float low, high;
  bool packs;
  std::string isa;

  int64_t packed_size() const;
};

// Throws SpecError, naming the token or the reason.
Problem ParseProblem(std::string_view spec);

}  // namespace collage::separable
