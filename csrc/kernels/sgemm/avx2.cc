// The kernels for processors with AVX2 and FMA.
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "kernels.h"

#define INLINE inline __attribute__((always_inline))

// From here on, and not before: the standard library's inline functions must run everywhere.
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

namespace collage::sgemm {
namespace avx2 {
namespace {

struct Vec {
  using T = __m256;
  using Mask = __m256i;
  static constexpr int kLanes = 8, kRows = 6;  // 12 sums, and a register for each vector of weights and an element
  static INLINE T Load(const float* from) { return _mm256_loadu_ps(from); }
  static INLINE T Load(const float* from, Mask mask) { return _mm256_maskload_ps(from, mask); }
  static INLINE void Store(float* to, T value) { _mm256_storeu_ps(to, value); }
  static INLINE void Store(float* to, T value, Mask mask) { _mm256_maskstore_ps(to, mask, value); }
  static INLINE Mask First(int64_t lanes) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(lanes)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static INLINE T All(float value) { return _mm256_set1_ps(value); }
  static INLINE T MulAdd(T a, T b, T c) { return _mm256_fmadd_ps(a, b, c); }
  // The second operand is what the instruction gives where one is NaN: NaN stays.
  static INLINE T Max(T bound, T value) { return _mm256_max_ps(bound, value); }
  static INLINE T Min(T bound, T value) { return _mm256_min_ps(bound, value); }
};

#include "operands.h"
#include "multiply.h"
#include "steps.h"

}  // namespace
}  // namespace avx2

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const Kernels* Avx2Kernels() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &avx2::kKernels : nullptr;
}

}  // namespace collage::sgemm
