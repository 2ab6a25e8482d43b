// The kernels for processors with AVX2 and FMA.
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels.h"

#define INLINE inline __attribute__((always_inline))

// From here on, and not before: the standard library's inline functions must run everywhere.
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

namespace collage::rows {
namespace avx2 {
namespace {

#include "../avx2.h"

struct Vec : Vectors {
  static INLINE T Where(Mask mask, T value, T other) {
    return _mm256_blendv_ps(other, value, _mm256_castsi256_ps(mask));
  }
  static INLINE T Round(T x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // Of e^x = value * 2^n. Where x is infinite, value is NaN; below -87, 2^n is no normal number.
  static INLINE T TimesPowerOfTwo(T value, T n, T x) {
    const T seen = _mm256_cmp_ps(x, All(-87), _CMP_NLT_UQ);
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    const T power = _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
    return _mm256_and_ps(seen, value * power);
  }
};

#include "exponential.h"
#include "rows.h"

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

}  // namespace collage::rows
