// The sums of what the taps gave.
#pragma once

#include <cstdint>

namespace collage::narrow {

// One row of the result.
struct Row {
  const float* const* lines;  // for each row of the kernel, at the left end of its line
  int64_t kernel_height, kernel_width;
  int64_t pixel, tap;         // elements of a line: from a pixel to the next, and to the next of a row of the kernel
  int64_t pixels, columns;    // of the result
  const float* bias;          // padded to 16 numbers
  float low, high;
  float* result;
  int64_t result_row;
};

void SumTaps(const Row& row);

}  // namespace collage::narrow
