// A problem with its division into work. Const once built: any number of threads may run the same plan.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "../../step.h"
#include "layout.h"

namespace collage::grouped {

struct Arrays {
  const float *source, *weights, *bias, *add, *gate;  // null where the problem has none; the weights are packed
  float* result;
};

class Plan : public Step {
 public:
  static constexpr std::string_view kVersion = "2";  // of the layout of packed weights and of the spec

  explicit Plan(std::string_view spec);

  const Problem& problem() const { return problem_; }

  std::vector<size_t> OperandBytes() const override;
  size_t ResultBytes() const override;
  void Run(const void* const* operands, void* result) const override;

  // For those who go on with the results while they are near: one thread, some rows of an image, all channels. They go
  // to `arrays.result`, dense and from its start; `arrays` has packed weights, no summand, and the source of the image.
  void RunRows(const Arrays& arrays, int64_t first_row, int64_t end_row, std::byte* scratch) const;
  size_t scratch_bytes() const { return scratch_bytes_; }

 private:
  // Where an item is, and the row that `arrays.result` begins with.
  struct Item {
    int64_t image, first_channel, end_channel, first_row, end_row, origin;
  };

  void ChooseItems();
  void Pack(const float* weights, float* packed) const;
  void PackBlock(const float* weights, float* packed, int64_t block) const;
  Item ItemAt(int64_t number) const;
  void RunItem(const Arrays& arrays, const Item& item, std::byte* scratch) const;
  void RunRow(const Arrays& arrays, int64_t channel, int64_t pixel, const float* const* runs) const;
  void CopyRow(const float* row, int64_t channels, float* to) const;
  int64_t copy_size() const { return width_ / kernels_->lanes * chunk_size_; }

  Problem problem_;
  Layout layout_;
  const Kernels* kernels_;
  int64_t width_;                // channels of an item: whole blocks and whole groups
  int64_t chunk_size_;           // elements in the copy of a row
  int threads_;
  int64_t row_blocks_;           // all rows of results in parts as equal as can be
  size_t pointer_bytes_, scratch_bytes_;  // for each thread: for a row's runs, and all in all
};

}  // namespace collage::grouped
