// A problem with its division into work. Const once built: any number of threads may run the same plan.
#pragma once

#include <string_view>
#include <vector>

#include "../../step.h"
#include "kernels.h"
#include "problem.h"

namespace collage::elementwise {

class Plan : public Step {
 public:
  static constexpr std::string_view kVersion = "1";

  explicit Plan(std::string_view spec);

  const Problem& problem() const { return problem_; }

  std::vector<size_t> OperandBytes() const override;
  size_t ResultBytes() const override { return problem_.elements() * sizeof(float); }
  void Run(const void* const* operands, void* result) const override;

 private:
  // Rows of the result, and of each the columns [first, end) of what is computed; `scratch` holds the numbers of a block.
  struct Part {
    int64_t first_row, end_row, first, end;
    float* scratch;
  };
  void RunPart(const Part& part, const float* const* operands, float* result) const;
  bool Find(int64_t row, int64_t* starts) const;
  void RunRow(const Part& part, const int64_t* starts, const float* const* operands, float* row) const;

  Problem problem_;
  const Kernels* kernels_;
  int64_t rows_;
  bool by_columns_;  // there are too few rows for all threads
  int threads_;
};

}  // namespace collage::elementwise
