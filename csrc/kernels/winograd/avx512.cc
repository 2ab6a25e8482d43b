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

#include "../avx512.h"

struct Vec : Vectors {
  static constexpr int kSums = 24, kColumns = 4;
  static INLINE T Relu(T value) { return Max(All(0), value); }
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

const Kernels* Avx512Kernels(Method method) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma") ? avx512::KernelsFor(method) : nullptr;
}

}  // namespace collage::winograd
