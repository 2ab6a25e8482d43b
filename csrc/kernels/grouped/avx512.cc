// The kernels for processors with AVX-512.
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "kernels.h"

#define INLINE inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))

// From here on, and not before: the standard library's inline functions must run everywhere.
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,fma,prefer-vector-width=512")
#endif

namespace collage::grouped {
namespace avx512 {
namespace {

#include "../avx512.h"

struct Vec : Vectors {
  using Index = __m512i;
  static constexpr int kPixels = 14;  // sums: one step for rows of 14, two for 28
  static INLINE Index GroupStarts(int group) {  // for each lane, of groups whose size is a power of 2
    return _mm512_and_si512(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                            _mm512_set1_epi32(-group));
  }
  static INLINE Index NextIndex(Index index) { return _mm512_add_epi32(index, _mm512_set1_epi32(1)); }
  static INLINE T Permute(T value, Index index) { return _mm512_maskz_permutexvar_ps(0xffff, index, value); }
};

#include "convolve.h"
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

}  // namespace collage::grouped
