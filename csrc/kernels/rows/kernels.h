// The loops over numbers, compiled once per instruction set; everything else is in plan.cc.
#pragma once

#include <cstdint>

namespace collage::rows {

// How the sum of squares becomes what a row is divided by.
struct Norm {
  float inverse_count;  // of the summands: 1 / n, or 1 / (n - 1) where the variance is unbiased
  float epsilon;
  bool centred;  // the mean is subtracted
  bool outside;  // epsilon is added to the root, not under it
};

// Some rows, one after the other and dense.
struct Task {
  const float* source;
  int64_t rows, columns;
  const float *scale, *shift;  // null if there is none
  float* result;
  Norm norm;
};

struct Kernels {
  void (*normalise)(const Task& task);
  void (*softmax)(const Task& task);
};

// Null if the processor lacks what they are compiled for.
const Kernels* Avx512Kernels();
const Kernels* Avx2Kernels();

}  // namespace collage::rows
