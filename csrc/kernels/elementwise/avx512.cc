// The kernels for processors with AVX-512.
#include <cmath>

#include "kernels.h"

#define INLINE inline __attribute__((always_inline))

// From here on, and not before: the standard library's inline functions must run everywhere.
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,fma,prefer-vector-width=512")
#endif

namespace collage::elementwise {
namespace avx512 {
namespace {

#include "elementwise.h"

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

}  // namespace collage::elementwise
