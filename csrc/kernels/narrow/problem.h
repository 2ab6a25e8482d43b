// What one call computes, and its text form: space-separated key=value tokens, for example
//   op=conv src=1x256x256x64 dst=1x256x256x3 kernel=3x3 dilation=1x1 pads=1x1 bias=1 low=-inf high=inf packed=1
// op=pack brings weights, [channel][tap][output channel], into panels, followed by what a tap makes of padding.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "../../tokens.h"

namespace collage::narrow {

constexpr int64_t kMostColumns = 16;  // output channels

// A channels-last convolution that slides by 1. The padding behind follows from the result's size.
struct Problem {
  int64_t batch, height, width, channels;
  int64_t out_height, out_width, columns;
  int64_t kernel_height, kernel_width, dilation_height, dilation_width;
  int64_t pad_height, pad_width;  // before; negative crops
  int64_t result_row;             // from a pixel of the result to the next
  bool bias;
  float low, high;
  bool packed;  // the weights are given packed
  bool packs;   // packing the weights is all there is to do
  std::string isa;

  int64_t taps() const { return kernel_height * kernel_width; }
  // Columns of the product of pixels and weights: of each tap those of the result.
  int64_t products() const { return taps() * columns; }

  // Elements.
  int64_t source_size() const { return batch * height * width * channels; }
  int64_t pixels() const { return batch * out_height * out_width; }
  int64_t result_size() const { return (pixels() - 1) * result_row + columns; }
  int64_t weights_size() const { return channels * products(); }
  int64_t packed_size() const;
};

// Throws SpecError, naming the token or the reason.
Problem ParseProblem(std::string_view spec);

}  // namespace collage::narrow
