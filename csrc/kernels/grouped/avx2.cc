// The kernels for processors with AVX2 and FMA.
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
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

namespace collage::grouped {
namespace avx2 {
namespace {

#include "../avx2.h"

struct Vec : Vectors {
  using Index = __m256i;
  static constexpr int kPixels = 10;  // sums, and registers for the weights, a pixel and an index
  static INLINE Index GroupStarts(int group) {  // for each lane, of groups whose size is a power of 2
    return _mm256_and_si256(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(-group));
  }
  static INLINE Index NextIndex(Index index) { return _mm256_add_epi32(index, _mm256_set1_epi32(1)); }
  // Groups of 2 or 4: they stay within halves of a register, across which some processors are slow.
  static INLINE T Permute(T value, Index index) { return _mm256_permutevar_ps(value, index); }
};

#include "convolve.h"
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

}  // namespace collage::grouped
