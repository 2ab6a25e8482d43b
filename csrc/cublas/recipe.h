// What a program says of a product: the text of the custom call, decoded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "abi.h"

namespace collage::cublas {

// A stack of matrices that lie column by column; sizes and distances in elements.
struct Matrix {
  int64_t rows, columns, leading_dimension, stride;  // `stride`: from one matrix of the stack to the next
  int64_t elements(int64_t batch) const { return (batch - 1) * stride + (columns - 1) * leading_dimension + rows; }
};

// D = epilogue(alpha op(A) op(B) + beta C), for each of `batch`: D has m rows and n columns, sums are over k products.
struct Recipe {
  DataType operand, result;
  ComputeType compute;
  int64_t m, n, k, batch;
  Operation transpose_a, transpose_b;
  Matrix a, b, d;  // C lies as D does
  // What the epilogue reads or writes besides, beside D: for a ReLU's gradient bits, whether each of D's elements passes,
  // and sizes and distances in bits; for a GELU and its gradient the GELU's operand.
  Matrix aux;
  double alpha, beta;
  Epilogue epilogue;
  int rank;  // which of the algorithms that the library recommends, 0 being the first
  size_t workspace;

  DataType scale() const { return operand == kF64 ? kF64 : kF32; }
  bool has_bias() const { return (epilogue & kBias) != 0; }
  bool has_gradient() const { return (epilogue & (kBiasGradient | kBiasGradientA | kBiasGradientB)) != 0; }
  bool has_aux() const { return (epilogue & kAux) != 0; }
  bool makes_aux() const { return has_aux() && (epilogue & kGelu) != 0; }
  bool has_bits() const { return epilogue == kReluGradient || epilogue == kReluBiasGradient; }
  size_t aux_bytes() const;
};

size_t ElementBytes(DataType type);

// The text is tokens: operand=, result= (f16, bf16, f32, f64), compute= (f32, tf32, f64), sizes=MxNxKxBATCH, a=, b=
// (TRANSPOSEDxLDxSTRIDE), d= (LDxSTRIDE), alpha=, beta=, epilogue=, aux= (LDxSTRIDE, if the epilogue has it), rank=,
// workspace=. Throws SpecError for any other, and for what the library has no product for.
Recipe MakeRecipe(std::string_view spec);

}  // namespace collage::cublas
