// A problem with its division into work. Const once built: any number of threads may run the same plan.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "../../step.h"
#include "kernels.h"
#include "problem.h"

namespace collage::sgemm {

struct Arrays {
  const float *source, *weights, *bias, *add, *gate;  // null where the problem has none
  float* result;
};

class Plan : public Step {
 public:
  static constexpr std::string_view kVersion = "4";  // of the layout of packed weights and of the spec

  explicit Plan(std::string_view spec);

  const Problem& problem() const { return problem_; }

  std::vector<size_t> OperandBytes() const override;
  size_t ResultBytes() const override;
  void Run(const void* const* operands, void* result) const override;

 private:
  int64_t panels() const { return (problem_.columns + kernels_->panel - 1) / kernels_->panel; }
  int64_t PanelWidth(int64_t panel) const;
  const float* PanelStart(const float* packed, int64_t panel) const {
    return packed + panel * kernels_->panel * problem_.depth;  // only the last one is narrower
  }

  void ChooseBlocks();
  void PackPanel(const float* weights, float* packed, int64_t panel) const;
  void PackAll(const float* weights, float* packed) const;
  void RunBlock(const Arrays& arrays, int64_t block, float* scratch) const;
  void RunStrip(const Arrays& arrays, Task task, int64_t row, int64_t panel, int64_t panel_end) const;
  const float* Gather(const float* source, int64_t row, int64_t rows, float* copy) const;

  Problem problem_;
  const Kernels* kernels_;
  int threads_;
  bool copies_;                              // rows are copied before they are used
  int64_t a_row_;                            // from one row to the next, where they are read
  int64_t row_blocks_, column_blocks_;       // all rows, and all panels, in parts as equal as can be
  int64_t summands_;                         // of a part of the sum
  bool far_;                                 // the result is not in a core's own cache
  int64_t strips_;                           // of a block: rows that meet a panel before the next panel does
  int64_t partial_size_, copy_size_;         // elements of scratch for each thread
};

}  // namespace collage::sgemm
