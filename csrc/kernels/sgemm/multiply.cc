// A block: its rows times its panels.
#include <algorithm>

#include "plan.h"

namespace collage::sgemm {

void Plan::RunBlock(const Arrays& arrays, int64_t block, float* scratch) const {
  const Problem& p = problem_;
  const int64_t across = block / row_blocks_, down = block % row_blocks_;
  const int64_t panel = panels() * across / column_blocks_, panel_end = panels() * (across + 1) / column_blocks_;
  const int64_t end = p.rows * (down + 1) / row_blocks_;
  Task task{};
  task.a_row = a_row_;
  task.tail = &p.tail;
  task.add_row = p.columns, task.result_row = p.result_row;
  task.partial = scratch;
  int64_t row = p.rows * down / row_blocks_;
  for (int64_t strip = 0; strip < strips_; ++strip, row += task.rows) {
    task.rows = (end - row) / (strips_ - strip);
    if (task.rows == 0) continue;
    task.a = copies_ ? Gather(arrays.source, row, task.rows, scratch + partial_size_) : arrays.source + row * a_row_;
    RunStrip(arrays, task, row, panel, panel_end);
  }
}

void Plan::RunStrip(const Arrays& arrays, Task task, int64_t row, int64_t panel, int64_t panel_end) const {
  const Problem& p = problem_;
  const float* a = task.a;
  const int64_t steps = strips_ > 1 ? 1 : (task.rows + kernels_->most_rows - 1) / kernels_->most_rows;
  const int64_t next_rows = strips_ > 1 ? task.rows / (panel_end - panel) : 0;
  const float* next_row = a + task.rows * a_row_;
  for (; panel < panel_end; ++panel, next_row += next_rows * p.depth) {
    const int64_t column = panel * kernels_->panel;
    const float* b = PanelStart(arrays.weights, panel);
    task.width = PanelWidth(panel);
    task.columns = std::min(kernels_->panel, p.columns - column);
    task.bias = p.bias ? arrays.bias + column : nullptr;
    task.add = p.add ? arrays.add + row * p.columns + column : nullptr;
    task.gate = p.gate ? arrays.gate + row * p.columns + column : nullptr;
    task.result = arrays.result + row * p.result_row + column;
    task.next_elements = strips_ > 1 ? next_rows : steps == 1 ? task.width : task.width / steps;
    const float* next = strips_ > 1 ? next_row : b + task.width * p.depth;
    for (int64_t from = 0; from < p.depth; from += task.depth) {
      task.a = a + from;
      task.b = b + from * task.width;
      task.depth = std::min(summands_, p.depth - from);
      task.next = next + from * steps * task.next_elements;
      task.first = from == 0;
      task.last = from + task.depth == p.depth;
      task.prefetches = task.last && far_;
      kernels_->multiply(task);
    }
  }
}

}  // namespace collage::sgemm
