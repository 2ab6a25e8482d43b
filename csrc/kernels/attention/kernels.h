// The loops over numbers that are attention's own, compiled once per instruction set; its products are those of sgemm.
#pragma once

#include <cstdint>

#include "../sgemm/kernels.h"

namespace collage::attention {

enum class Masking { kNone, kBias, kKeep };

// Some rows of scores, which a softmax replaces. Their memory goes on to the next multiple of sgemm::kVector.
struct Scores {
  float* first;
  int64_t rows, columns, row;  // from one row to the next, in elements
  Masking masking;
  const float* mask;                  // added to the scores, or 0 where `fill` takes their place
  int64_t mask_row, mask_column;      // distances; the latter 0 or 1
  float fill;
};

struct Kernels {
  const sgemm::Kernels* products;
  void (*softmax)(const Scores& scores);
};

// False if the processor lacks what they are compiled for.
bool Avx512Kernels(Kernels* kernels);
bool Avx2Kernels(Kernels* kernels);

}  // namespace collage::attention
