// Packed matrices for those who multiply a few rows with them themselves: one thread, all columns.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace collage::sgemm {

// Elements of a packed matrix.
int64_t PackedSize(int64_t depth, int64_t columns);

// `matrix`, of which element (k, n) is at k * row + n * column, as panels of neighbouring columns; see kernels.h.
void PackMatrix(const Kernels& kernels, const float* matrix, int64_t row, int64_t column, int64_t depth,
                int64_t columns, float* panels);

// The rows of `task.a`, `depth` wide, times a packed matrix of `columns`. Of `task` it takes a, a_row, rows, partial
// ([rows][kMostPanel]), tail, bias, add, result and result_row; null are those of bias and add that there are not.
void MultiplyPanels(const Kernels& kernels, Task task, int64_t depth, int64_t columns, const float* panels);

}  // namespace collage::sgemm
