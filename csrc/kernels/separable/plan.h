// A depthwise convolution and the pointwise one that reads it: what is between them stays in a core's own cache.
//
// An *item* is some rows of an image: all channels of them are convolved, and then multiplied.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "../../step.h"
#include "../grouped/plan.h"
#include "../sgemm/kernels.h"
#include "problem.h"

namespace collage::separable {

class Plan : public Step {
 public:
  static constexpr std::string_view kVersion = "2";  // of the layout of packed weights and of the spec

  explicit Plan(std::string_view spec);

  const Problem& problem() const { return problem_; }

  // Operands are the source, the packed weights of both, the bias and the summand, those there are.
  std::vector<size_t> OperandBytes() const override;
  size_t ResultBytes() const override;
  void Run(const void* const* operands, void* result) const override;

 private:
  struct Arrays {
    const float *source, *depthwise, *pointwise, *bias, *add;
    float* result;
  };

  void RunItem(const Arrays& arrays, int64_t item, std::byte* scratch) const;

  Problem problem_;
  grouped::Plan depthwise_;
  const sgemm::Kernels* products_;
  sgemm::Tail tail_;
  int threads_;
  int64_t row_blocks_;  // all rows of an image in parts as equal as can be
  size_t between_bytes_, partial_bytes_;  // of scratch for each thread
};

}  // namespace collage::separable
