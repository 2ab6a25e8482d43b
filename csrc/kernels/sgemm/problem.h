// What one call computes, and its text form: space-separated key=value tokens, for example
//   op=product sizes=784x256x512 rows=1x1x28x28 steps=0x0x28672x512 source=802816 weights=512x1 bias=1 add=0
//   scale=1.0 floor=-inf low=0.0 high=inf packed=1
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "../../tokens.h"
#include "kernels.h"

namespace collage::sgemm {

// Rows x depth numbers times depth x columns weights. The rows lie anywhere in the source: row r has an index in each
// of four dimensions of the sizes `row_sizes`, the last the fastest, and starts at the sum of index times step. Numbers
// of a row are `depth_step` apart: 1, or else rows start next to each other.
struct Problem {
  int64_t rows, depth, columns;
  std::array<int64_t, 4> row_sizes, row_steps;
  int64_t source_size, depth_step;
  int64_t weights_row, weights_column;  // distances in the weights
  int64_t result_row;                   // from a row of the result to the next
  bool bias, add, gate;
  Tail tail;
  bool packed;      // the weights are given packed
  bool packs;       // packing the weights is all there is to do
  std::string isa;  // which kernels, "avx512" or "avx2"; else the best

  // Elements.
  int64_t summand_size() const { return rows * columns; }
  int64_t result_size() const { return (rows - 1) * result_row + columns; }
  int64_t weights_size() const { return depth * columns; }
  int64_t packed_size() const { return depth * ((columns + kVector - 1) / kVector * kVector); }
  int64_t RowStart(int64_t row) const {
    int64_t start = 0;
    for (int i = 3; i >= 0; row /= row_sizes[i--]) start += row % row_sizes[i] * row_steps[i];
    return start;
  }
};

// Throws SpecError, naming the token or the reason.
Problem ParseProblem(std::string_view spec);

}  // namespace collage::sgemm
