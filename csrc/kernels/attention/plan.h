// A problem with its division into work. Const once built: any number of threads may run the same plan.
//
// A *task* is some rows of q of one head. Its scores are computed whole, so that no sum is corrected afterwards.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "../../step.h"
#include "../rows/kernels.h"
#include "../sgemm/kernels.h"
#include "problem.h"

namespace collage::attention {

struct Arrays {
  const float *q, *k, *v, *mask;
  float* result;
};

class Plan : public Step {
 public:
  static constexpr std::string_view kVersion = "1";

  explicit Plan(std::string_view spec);

  const Problem& problem() const { return problem_; }

  std::vector<size_t> OperandBytes() const override;
  size_t ResultBytes() const override;
  void Run(const void* const* operands, void* result) const override;

 private:
  struct Scratch {
    float *keys, *values, *scores, *partial;
  };

  void RunTasks(const Arrays& arrays, int64_t task, int64_t end, float* memory) const;
  void ApplyMask(float* scores, int64_t rows, const float* mask) const;
  void RunTask(const Arrays& arrays, int64_t head, int64_t row, int64_t rows, const Scratch& scratch) const;

  Problem problem_;
  const sgemm::Kernels* products_;
  const rows::Kernels* rows_;
  int64_t blocks_;  // of rows, for each head
  int64_t score_row_;
  int64_t keys_size_, values_size_, scores_size_, partial_size_;  // elements of scratch for each thread
  int threads_;
};

}  // namespace collage::attention
