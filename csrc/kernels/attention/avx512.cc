// The kernels for processors with AVX-512.
#include <immintrin.h>

#include <algorithm>
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

namespace collage::attention {
namespace avx512 {
namespace {

struct Vec {
  using T = __m512;
  static constexpr int kLanes = 16;
  static INLINE T Load(const float* from) { return _mm512_loadu_ps(from); }
  static INLINE void Store(float* to, T value) { _mm512_storeu_ps(to, value); }
  static INLINE T All(float value) { return _mm512_set1_ps(value); }
  static INLINE T MulAdd(T a, T b, T c) { return _mm512_fmadd_ps(a, b, c); }
  static INLINE T Max(T a, T b) { return _mm512_maskz_max_ps(0xffff, a, b); }
  static INLINE T Round(T x) {
    return _mm512_maskz_roundscale_ps(0xffff, x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  // Of e^x = value * 2^n. Where x is infinite, value is NaN.
  static INLINE T TimesPowerOfTwo(T value, T n, T x) {
    const __mmask16 seen = _mm512_cmp_ps_mask(x, All(-104), _CMP_NLT_UQ);
    return _mm512_maskz_scalef_ps(seen, value, n);
  }
};

#include "../exponential.h"
#include "softmax.h"

}  // namespace
}  // namespace avx512

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

bool Avx512Kernels(Kernels* kernels) {
  *kernels = {sgemm::Avx512Kernels(), avx512::SoftmaxRows};
  return kernels->products != nullptr;
}

}  // namespace collage::attention
