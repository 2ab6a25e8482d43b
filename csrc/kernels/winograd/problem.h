// What one call computes, and its text form: space-separated key=value tokens, for example
//   op=conv tile=4 src=2x1x56x56x64 up=1x1 dst=2x1x56x56x128 depth=1x1x1 pads=0x1x1 bias=1 add=0 relu=1 packed=1
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "../../tokens.h"
#include "kernels.h"

namespace collage::winograd {

// A channels-last convolution with a kernel of `kernel_depth` x 3 x 3; a convolution in two dimensions has depth 1.
// The padding behind follows from the result's size.
struct Problem {
  int64_t batch, depth, height, width, channels;
  int64_t up_height, up_width;  // the source is smaller by so much: each of its pixels stands for as many
  int64_t out_depth, out_height, out_width, out_channels;
  int64_t result_row;  // from a pixel of the result to the next
  int64_t kernel_depth, stride_depth, dilation_depth;
  int64_t pad_depth, pad_height, pad_width;  // before; negative crops
  Method method;
  Sides sides;                               // of the method
  bool bias, add, relu;                      // what follows, in this order
  bool packed;                               // the weights are given transformed too
  bool packs;                                // the weights are all there is to do
  std::string isa;                           // which kernels, "avx512" or "avx2"; else the best

  int64_t pixels_of_patch() const { return sides.pixels * sides.pixels; }
  int64_t data() const { return sides.data * sides.data; }
  int64_t points() const { return sides.points * sides.points; }
  int64_t datum_at(int64_t point) const {
    return sides.data_at[point / sides.points] * sides.data + sides.data_at[point % sides.points];
  }
  int64_t tiles_high() const { return (out_height + sides.tile - 1) / sides.tile; }
  int64_t tiles_wide() const { return (out_width + sides.tile - 1) / sides.tile; }
  int64_t tiles() const { return batch * tiles_high() * tiles_wide(); }  // of one depth

  // Elements.
  int64_t source_size() const { return batch * depth * (height / up_height) * (width / up_width) * channels; }
  int64_t pixels() const { return batch * out_depth * out_height * out_width; }
  int64_t summand_size() const { return pixels() * out_channels; }
  int64_t result_size() const { return (pixels() - 1) * result_row + out_channels; }
  int64_t weights_size() const { return kernel_depth * 9 * channels * out_channels; }
  int64_t packed_size() const { return kernel_depth * points() * channels * out_channels; }
};

// Throws SpecError, naming the token or the reason.
Problem ParseProblem(std::string_view spec);

}  // namespace collage::winograd
