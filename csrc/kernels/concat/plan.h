// Arrays joined along their last axis: what their makers could not write into place themselves. Const once built: any
// number of threads may run the same plan.
#pragma once

#include <string_view>
#include <vector>

#include "../../step.h"
#include "problem.h"

namespace collage::concat {

class Plan : public Step {
 public:
  static constexpr std::string_view kVersion = "1";

  explicit Plan(std::string_view spec);

  const Problem& problem() const { return problem_; }

  std::vector<size_t> OperandBytes() const override;
  size_t ResultBytes() const override { return problem_.rows * problem_.row * sizeof(float); }
  void Run(const void* const* operands, void* result) const override;

 private:
  Problem problem_;
  int threads_;
};

}  // namespace collage::concat
