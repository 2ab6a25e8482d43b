// Gradients of pooling. Const once built: any number of threads may run the same plan.
#pragma once

#include <string_view>
#include <vector>

#include "../../step.h"
#include "problem.h"

namespace collage::pools {

class Plan : public Step {
 public:
  static constexpr std::string_view kVersion = "2";

  explicit Plan(std::string_view spec);

  const Problem& problem() const { return problem_; }

  // The windows' gradient; then, but for sums, what was pooled.
  std::vector<size_t> OperandBytes() const override;
  size_t ResultBytes() const override;
  void Run(const void* const* operands, void* result) const override;

 private:
  // The part of `count` of the innermost numbers, of one of the outer arrays.
  void RunPart(const float* gradient, const float* source, float* result, int64_t count) const;

  Problem problem_;
  int64_t parts_;  // of the innermost dimension
  int threads_;
};

}  // namespace collage::pools
