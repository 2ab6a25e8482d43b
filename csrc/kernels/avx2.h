// What every library does with vectors of AVX2. Included once per library, inside its namespace for AVX2.

struct Vectors {
  using T = __m256;
  using Mask = __m256i;
  static constexpr int kLanes = 8;
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
  // `value` where `by` is positive, else 0.
  static INLINE T Gate(T by, T value) {
    return _mm256_and_ps(_mm256_cmp_ps(by, _mm256_setzero_ps(), _CMP_GT_OQ), value);
  }
};
