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

namespace collage::winograd {
namespace avx512 {
namespace {

struct Vec {
  using T = __m512;
  static constexpr int kLanes = 16, kSums = 24, kColumns = 4;
  static INLINE T Load(const float* from) { return _mm512_loadu_ps(from); }
  static INLINE void Store(float* to, T value) { _mm512_storeu_ps(to, value); }
  static INLINE T All(float value) { return _mm512_set1_ps(value); }
  static INLINE T MulAdd(T a, T b, T c) { return _mm512_fmadd_ps(a, b, c); }
  // The second operand is what the instruction gives where one is NaN: NaN stays. (Masked, for GCC warns of the other.)
  static INLINE T Relu(T value) { return _mm512_maskz_max_ps(0xffff, _mm512_setzero_ps(), value); }
  static INLINE bool IsZero(T value) { return _mm512_cmp_ps_mask(value, _mm512_setzero_ps(), _CMP_NEQ_UQ) == 0; }
};

#include "transforms.h"
#include "product.h"
#include "tiles.h"

}  // namespace
}  // namespace avx512

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const Kernels* Avx512Kernels(int tile) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma") ? avx512::KernelsFor(tile) : nullptr;
}

}  // namespace collage::winograd
