// Arrays brought into the order in which the kernels read them, and their sizes.
#include <algorithm>

#include "plan.h"

namespace collage::sgemm {

std::vector<size_t> Plan::OperandBytes() const {
  const Problem& p = problem_;
  std::vector<int64_t> elements;
  if (!p.packs) elements.push_back(p.source_size);
  elements.push_back(p.packed && !p.packs ? p.packed_size() : p.weights_size());
  if (p.bias && !p.packs) elements.push_back(p.columns);
  for (bool has : {p.add, p.gate})
    if (has && !p.packs) elements.push_back(p.summand_size());
  std::vector<size_t> bytes;
  for (int64_t number : elements) bytes.push_back(number * sizeof(float));
  return bytes;
}

size_t Plan::ResultBytes() const {
  return (problem_.packs ? problem_.packed_size() : problem_.result_size()) * sizeof(float);
}

int64_t Plan::PanelWidth(int64_t panel) const {
  const int64_t columns = problem_.columns - panel * kernels_->panel;
  return std::min(kernels_->panel, (columns + kVector - 1) / kVector * kVector);
}

const float* Plan::Gather(const float* source, int64_t row, int64_t rows, float* copy) const {
  if (problem_.depth_step != 1) {
    kernels_->transpose(source + row, problem_.depth_step, copy, a_row_, problem_.depth, rows);
    return copy;
  }
  for (int64_t i = 0; i < rows; ++i) {
    const float* from = source + problem_.RowStart(row + i);
    std::copy(from, from + problem_.depth, copy + i * a_row_);
  }
  return copy;
}

void Plan::PackAll(const float* weights, float* packed) const {
  const int64_t count = panels();
#pragma omp parallel for num_threads(threads_) if (threads_ > 1)
  for (int64_t panel = 0; panel < count; ++panel) PackPanel(weights, packed, panel);
}

// Columns that only fill the last vector are zero: what they give is never stored.
void Plan::PackPanel(const float* weights, float* packed, int64_t panel) const {
  const Problem& p = problem_;
  const int64_t first = panel * kernels_->panel;
  const int64_t width = PanelWidth(panel), columns = std::min(kernels_->panel, p.columns - first);
  const float* from = weights + first * p.weights_column;
  float* to = packed + first * p.depth;
  constexpr int64_t kLine = 16;  // rows at a time: a cache line of weights that lie along the rows
  for (int64_t start = 0; start < p.depth; start += kLine) {
    const int64_t end = std::min(start + kLine, p.depth);
    if (p.weights_column == 1 && columns == width) {
      for (int64_t k = start; k < end; ++k)
        std::copy(from + k * p.weights_row, from + k * p.weights_row + width, to + k * width);
    } else if (p.weights_column == 1) {
      for (int64_t k = start; k < end; ++k)
        std::fill(std::copy(from + k * p.weights_row, from + k * p.weights_row + columns, to + k * width),
                  to + (k + 1) * width, 0.f);
    } else {
      kernels_->transpose(from + start, p.weights_column, to + start * width, width, columns, end - start);
      if (columns < width)
        for (int64_t k = start; k < end; ++k) std::fill(to + k * width + columns, to + (k + 1) * width, 0.f);
    }
  }
}

}  // namespace collage::sgemm
