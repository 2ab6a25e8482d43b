// The kernels for processors with AVX-512.
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "kernels.h"

#define INLINE inline __attribute__((always_inline))

// From here on, and not before: the standard library's inline functions must run everywhere.
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,fma,prefer-vector-width=512")
#endif

namespace collage::sgemm {
namespace avx512 {
namespace {

struct Vec {
  using T = __m512;
  using Mask = __mmask16;
  static constexpr int kLanes = 16, kRows = 14;  // 28 sums, and a register for each vector of weights and an element
  static INLINE T Load(const float* from) { return _mm512_loadu_ps(from); }
  static INLINE T Load(const float* from, Mask mask) { return _mm512_maskz_loadu_ps(mask, from); }
  static INLINE void Store(float* to, T value) { _mm512_storeu_ps(to, value); }
  static INLINE void Store(float* to, T value, Mask mask) { _mm512_mask_storeu_ps(to, mask, value); }
  static INLINE Mask First(int64_t lanes) { return static_cast<Mask>(lanes >= kLanes ? 0xffff : (1 << lanes) - 1); }
  static INLINE T All(float value) { return _mm512_set1_ps(value); }
  static INLINE T MulAdd(T a, T b, T c) { return _mm512_fmadd_ps(a, b, c); }
  // The second operand is what the instruction gives where one is NaN: NaN stays. (Masked, for GCC warns of the other.)
  static INLINE T Max(T bound, T value) { return _mm512_maskz_max_ps(0xffff, bound, value); }
  static INLINE T Min(T bound, T value) { return _mm512_maskz_min_ps(0xffff, bound, value); }
};

#include "operands.h"
#include "multiply.h"
#include "steps.h"

}  // namespace
}  // namespace avx512

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const Kernels* Avx512Kernels() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma") ? &avx512::kKernels : nullptr;
}

}  // namespace collage::sgemm
