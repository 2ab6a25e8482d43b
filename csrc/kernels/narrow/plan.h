// A convolution to few channels. Pixels are multiplied with the weights of all taps at once, a matrix product with as
// many columns as there are taps times output channels; a result is the sum of what its taps' pixels gave for it.
//
// A *line* is what all pixels of a source row gave, with the padding to the left and right of it. An *item* is some rows
// of the result; its thread keeps the lines that the next row needs too.
#pragma once

#include <string_view>
#include <vector>

#include "../../step.h"
#include "../sgemm/kernels.h"
#include "problem.h"

namespace collage::narrow {

class Plan : public Step {
 public:
  static constexpr std::string_view kVersion = "1";  // of the layout of packed weights and of the spec

  explicit Plan(std::string_view spec);

  const Problem& problem() const { return problem_; }

  // Operands are the source, the weights and the bias, those there are.
  std::vector<size_t> OperandBytes() const override;
  size_t ResultBytes() const override;
  void Run(const void* const* operands, void* result) const override;

 private:
  struct Arrays {
    const float *source, *packed, *bias;
    float* result;
  };

  void Pack(const float* weights, float* packed) const;
  const float* OfPadding(const float* packed) const;
  void RunItem(const Arrays& arrays, int64_t item, float* scratch) const;
  void FillLine(const Arrays& arrays, int64_t image, int64_t row, float* partial, float* line) const;

  Problem problem_;
  const sgemm::Kernels* products_;
  int threads_;
  int64_t row_blocks_;  // all rows of an image in parts as equal as can be
  int64_t lines_;       // that a row of the result lies within
  int64_t pixel_;       // elements of a line for each pixel
  int64_t left_, used_, right_;  // pixels of a line: padding, of the source, padding
  int64_t first_used_;           // pixel of the source
  int64_t line_size_, partial_size_, pointers_size_;
};

}  // namespace collage::narrow
