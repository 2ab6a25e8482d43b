// The kernels for processors with AVX-512.
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels.h"

#define INLINE inline __attribute__((always_inline))

// From here on, and not before: the standard library's inline functions must run everywhere.
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,fma,prefer-vector-width=512")
#endif

namespace collage::rows {
namespace avx512 {
namespace {

#include "../avx512.h"

struct Vec : Vectors {
  static INLINE T Where(Mask mask, T value, T other) { return _mm512_mask_mov_ps(other, mask, value); }
  static INLINE T Round(T x) {
    return _mm512_maskz_roundscale_ps(0xffff, x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  // Of e^x = value * 2^n. Where x is infinite, value is NaN.
  static INLINE T TimesPowerOfTwo(T value, T n, T x) {
    const __mmask16 seen = _mm512_cmp_ps_mask(x, All(-104), _CMP_NLT_UQ);
    return _mm512_maskz_scalef_ps(seen, value, n);
  }
};

#include "exponential.h"
#include "rows.h"

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

}  // namespace collage::rows
