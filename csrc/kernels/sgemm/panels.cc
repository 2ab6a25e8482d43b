#include "panels.h"

#include <algorithm>

namespace collage::sgemm {
namespace {

constexpr int64_t kSummands = 256;  // at a time, as in plan.cc

int64_t VectorsUp(int64_t columns) { return (columns + kVector - 1) / kVector * kVector; }

}  // namespace

int64_t PackedSize(int64_t depth, int64_t columns) { return depth * VectorsUp(columns); }

void PackMatrix(const Kernels& kernels, const float* matrix, int64_t row, int64_t column, int64_t depth,
                int64_t columns, float* panels) {
  for (int64_t start = 0; start < columns; start += kernels.panel) {
    const int64_t here = std::min(kernels.panel, columns - start), width = VectorsUp(here);
    const float* from = matrix + start * column;
    if (column == 1) {
      for (int64_t k = 0; k < depth; ++k, from += row)
        std::fill(std::copy(from, from + here, panels + k * width), panels + (k + 1) * width, 0.f);
    } else if (row == 1) {
      kernels.transpose(from, column, panels, width, here, depth);
      if (here < width)
        for (int64_t k = 0; k < depth; ++k) std::fill(panels + k * width + here, panels + (k + 1) * width, 0.f);
    } else {
      for (int64_t n = 0; n < width; ++n)
        for (int64_t k = 0; k < depth; ++k) panels[k * width + n] = n < here ? from[k * row + n * column] : 0.f;
    }
    panels += depth * width;
  }
}

void MultiplyPanels(const Kernels& kernels, Task task, int64_t depth, int64_t columns, const float* panels) {
  const int64_t parts = (depth + kSummands - 1) / kSummands, part = (depth + parts - 1) / parts;
  const int64_t steps = (task.rows + kernels.most_rows - 1) / kernels.most_rows;
  const Task all = task;
  for (int64_t start = 0; start < columns; start += kernels.panel) {
    task.columns = std::min(kernels.panel, columns - start);
    task.width = VectorsUp(task.columns);
    task.result = all.result + start;
    task.bias = all.bias == nullptr ? nullptr : all.bias + start;
    task.add = all.add == nullptr ? nullptr : all.add + start;
    task.next_elements = task.width / steps;  // the panel after this one is brought near meanwhile
    const float* next = panels + depth * task.width;
    for (int64_t from = 0; from < depth; from += part) {
      task.depth = std::min(part, depth - from);
      task.a = all.a + from;
      task.b = panels + from * task.width;
      task.next = next + from * steps * task.next_elements;
      task.first = from == 0;
      task.last = from + task.depth == depth;
      kernels.multiply(task);
    }
    panels += depth * task.width;
  }
}

}  // namespace collage::sgemm
