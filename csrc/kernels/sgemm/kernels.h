// The loops over numbers, compiled once per instruction set; everything else is in plan.cc.
//
// Words: weights are packed into *panels* of neighbouring columns, each of them [row][column] and dense. A *step* is
// the few rows of the result whose sums fit into registers.
#pragma once

#include <cstdint>

#include "../offers.h"

namespace collage::sgemm {

constexpr int64_t kVector = 16;              // columns: a panel has a multiple of this
constexpr int64_t kMostPanel = 2 * kVector;  // columns of a panel at most, whatever the instruction set

// What is done to the sums, in this order: times `scale`, plus bias, at least `floor`, plus `add`, at least `low`, at
// most `high`, 0 where `gate` is not positive. NaN stays NaN.
struct Tail {
  float scale, floor, low, high;
  bool has_scale, has_floor, has_low, has_high;  // else those change nothing
};

// Some rows of one panel, over a part of the sum.
struct Task {
  const float* a;
  int64_t a_row;         // from one row of `a` to the next, in elements as all distances
  const float* b;        // of the panel, at the first of `depth`
  int64_t width;         // of the panel, of which the result has `columns`
  int64_t columns, rows, depth;
  float* partial;        // [rows][kMostPanel]: sums over the parts before
  bool first, last;      // part of the sum: then `partial` is not read, not written
  bool prefetches;       // `result` and `add`, which are far away
  const float* next;     // brought near meanwhile, so many elements for each of `depth` of each step
  int64_t next_elements;
  const Tail* tail;
  const float *bias, *add, *gate;  // null if there is none
  float* result;
  int64_t add_row, result_row;  // that of `add` is that of `gate`
};

struct Kernels {
  int64_t most_rows;  // of a step
  int64_t panel;      // columns of a panel, but for the last one
  void (*multiply)(const Task& task);
  // `rows` x `columns` numbers: element (r, c), at r * from_row + c, comes to c * to_row + r.
  void (*transpose)(const float* from, int64_t from_row, float* to, int64_t to_row, int64_t rows, int64_t columns);
};

// Null if the processor lacks what they are compiled for.
const Kernels* Avx512Kernels();
const Kernels* Avx2Kernels();

inline constexpr Offer<Kernels> kOffers[] = {{"avx512", Avx512Kernels}, {"avx2", Avx2Kernels}};  // the best first

}  // namespace collage::sgemm
