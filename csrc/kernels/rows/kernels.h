// The loops over numbers, compiled once per instruction set; everything else is in plan.cc.
#pragma once

#include <cstdint>

#include "../offers.h"

namespace collage::rows {

// How the sum of squares becomes what a row is divided by.
struct Norm {
  float inverse_count;  // of the summands: 1 / n, or 1 / (n - 1) where the variance is unbiased
  float epsilon;
  bool centred;  // the mean is subtracted
  bool outside;  // epsilon is added to the root, not under it
};

// Some rows; `result` may be `source`.
struct Task {
  const float* source;
  int64_t rows, columns, row;  // from one row to the next, of all arrays
  const float *scale, *shift;  // null if there is none
  float* result;
  Norm norm;               // not of a softmax
  const float* cotangent;  // the gradient by the forward pass's result, of which this makes another
  const float* added;      // to `factor` times the gradient; null if there is none
  float factor;
};

struct Kernels {
  void (*normalise)(const Task& task);
  void (*softmax)(const Task& task);
  // The gradient by a norm's source, and by its scale: `result` is one row then, the sum of what each row adds.
  void (*norm_gradient)(const Task& task);
  void (*scale_gradient)(const Task& task);
  // `source` is the softmax's result.
  void (*softmax_gradient)(const Task& task);
};

// Null if the processor lacks what they are compiled for.
const Kernels* Avx512Kernels();
const Kernels* Avx2Kernels();

inline constexpr Offer<Kernels> kOffers[] = {{"avx512", Avx512Kernels}, {"avx2", Avx2Kernels}};  // the best first

}  // namespace collage::rows
