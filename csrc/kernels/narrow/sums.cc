#include "sums.h"

#include <cstring>

namespace collage::narrow {
namespace {

using Four = float __attribute__((vector_size(16)));

inline Four Load(const float* from) {
  Four numbers;
  std::memcpy(&numbers, from, sizeof(numbers));
  return numbers;
}

// Results of one pixel are in `Vectors` vectors, of which the last may have lanes too many: those are never kept.
template <int Vectors>
void Sum(const Row& row) {
  constexpr int kLanes = 4 * Vectors;
  Four bias[Vectors];
  for (int v = 0; v < Vectors; ++v) bias[v] = Load(row.bias + 4 * v);
  const Four low = Four{} + row.low, high = Four{} + row.high;
  const bool dense = row.result_row == row.columns;
  for (int64_t x = 0; x < row.pixels; ++x) {
    Four sums[Vectors];
    for (int v = 0; v < Vectors; ++v) sums[v] = bias[v];
    int64_t column = x * row.pixel;
    for (int64_t ky = 0; ky < row.kernel_height; ++ky, column += row.kernel_width * row.columns) {
      const float* at = row.lines[ky] + column;
      for (int64_t kx = 0; kx < row.kernel_width; ++kx, at += row.tap)
        for (int v = 0; v < Vectors; ++v) sums[v] += Load(at + 4 * v);
    }
    // Comparisons with NaN are false: it stays.
    for (int v = 0; v < Vectors; ++v) sums[v] = sums[v] < low ? low : sums[v];
    for (int v = 0; v < Vectors; ++v) sums[v] = sums[v] > high ? high : sums[v];
    float* to = row.result + x * row.result_row;
    // Lanes too many fall on pixels that are still to come, if there are enough of them.
    const bool whole = dense && x * row.columns + kLanes <= row.pixels * row.columns;
    std::memcpy(to, sums, whole ? sizeof(sums) : row.columns * sizeof(float));
  }
}

}  // namespace

void SumTaps(const Row& row) {
  switch ((row.columns + 3) / 4) {
    case 1: return Sum<1>(row);
    case 2: return Sum<2>(row);
    case 3: return Sum<3>(row);
    default: return Sum<4>(row);
  }
}

}  // namespace collage::narrow
