// What every library does with vectors of AVX-512. Included once per library, inside its namespace for AVX-512.

struct Vectors {
  using T = __m512;
  using Mask = __mmask16;
  static constexpr int kLanes = 16;
  static INLINE T Load(const float* from) { return _mm512_loadu_ps(from); }
  static INLINE T Load(const float* from, Mask mask) { return _mm512_maskz_loadu_ps(mask, from); }
  static INLINE void Store(float* to, T value) { _mm512_storeu_ps(to, value); }
  static INLINE void Store(float* to, T value, Mask mask) { _mm512_mask_storeu_ps(to, mask, value); }
  static INLINE Mask First(int64_t lanes) { return static_cast<Mask>(lanes >= kLanes ? 0xffff : (1 << lanes) - 1); }
  static INLINE T All(float value) { return _mm512_set1_ps(value); }
  static INLINE T MulAdd(T a, T b, T c) { return _mm512_fmadd_ps(a, b, c); }
  // The second operand is what the instruction gives where one is NaN: NaN stays. (Masked, for GCC warns of the other.)
  static INLINE T Max(T bound, T value) { return _mm512_maskz_max_ps(0xffff, bound, value); }
  static INLINE T Min(T bound, T value) { return _mm512_maskz_min_ps(0xffff, bound, value); }
  // `value` where `by` is positive, else 0.
  static INLINE T Gate(T by, T value) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(by, _mm512_setzero_ps(), _CMP_GT_OQ), value);
  }
};
