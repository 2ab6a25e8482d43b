// A problem with its division into work. Const once built: any number of threads may run the same plan.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "../../step.h"
#include "kernels.h"
#include "problem.h"

namespace collage::rows {

class Plan : public Step {
 public:
  static constexpr std::string_view kVersion = "1";

  explicit Plan(std::string_view spec);

  const Problem& problem() const { return problem_; }

  std::vector<size_t> OperandBytes() const override;
  size_t ResultBytes() const override { return problem_.result_size() * sizeof(float); }
  void Run(const void* const* operands, void* result) const override;

 private:
  void (*Kernel() const)(const Task& task);
  void RunSummed(const Task& all) const;

  Problem problem_;
  const Kernels* kernels_;
  int threads_;
};

}  // namespace collage::rows
