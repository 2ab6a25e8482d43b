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
  double alpha, beta;
  Epilogue epilogue;
  int rank;  // which of the algorithms that the library recommends, 0 being the first
  size_t workspace;

  DataType scale() const { return operand == kF64 ? kF64 : kF32; }
  bool has_bias() const { return (epilogue & kBias) != 0; }
  bool has_gradient() const { return epilogue == kBiasGradientA || epilogue == kBiasGradientB; }
};

size_t ElementBytes(DataType type);

// The text is tokens: operand=, result= (f16, bf16, f32, f64), compute= (f32, tf32, f64), sizes=MxNxKxBATCH, a=, b=
// (TRANSPOSEDxLDxSTRIDE), d= (LDxSTRIDE), alpha=, beta=, epilogue=, rank=, workspace=. Throws SpecError for any other,
// and for what the library has no product for.
Recipe MakeRecipe(std::string_view spec);

}  // namespace collage::cublas
