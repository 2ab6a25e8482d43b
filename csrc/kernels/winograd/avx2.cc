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

namespace collage::winograd {
namespace avx2 {
namespace {

#include "../avx2.h"

struct Vec : Vectors {
  static constexpr int kSums = 12, kColumns = 2;
  static INLINE T Relu(T value) { return Max(All(0), value); }
  static INLINE bool IsZero(T value) {
    return _mm256_movemask_ps(_mm256_cmp_ps(value, _mm256_setzero_ps(), _CMP_NEQ_UQ)) == 0;
  }
};

#include "transforms.h"
#include "product.h"
#include "tiles.h"

}  // namespace
}  // namespace avx2

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const Kernels* Avx2Kernels(Method method) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? avx2::KernelsFor(method) : nullptr;
}

}  // namespace collage::winograd
