// Patches in, tiles out, for one method. Included once per instruction set, inside its namespace, after `Vec`.

template <Method method>
struct Tiles {
  static constexpr Sides kSides = SidesOf(method);
  static constexpr int kSize = kSides.tile, kPixels = kSides.pixels, kData = kSides.data, kPoints = kSides.points;
  using Line = Transform<method>;

  static void Input(const float* const* pixels, int64_t channels, float* v, int64_t v_datum) {
    static_assert(kData == kPixels);  // a line is transformed where it is
    constexpr int kNew = kPixels - 2;  // columns of the tile to the right that this one does not have
    for (int64_t c = 0; c < channels; c += Vec::kLanes) {
      Vec::T d[kData * kData];
#pragma GCC unroll 8
      for (int x = 0; x < kPixels; ++x) {
        Vec::T column[kPixels];
#pragma GCC unroll 8
        for (int y = 0; y < kPixels; ++y) {
          const float* pixel = pixels[y * kPixels + x] + c;
          column[y] = Vec::Load(pixel);
          // What the tile to the right will read; the processor does not see so many streams.
          if (x >= 2) __builtin_prefetch(pixel + kNew * channels);
        }
        Line::Input(column, column);
#pragma GCC unroll 8
        for (int y = 0; y < kData; ++y) d[y * kData + x] = column[y];
      }
#pragma GCC unroll 8
      for (int y = 0; y < kData; ++y) {
        Line::Input(d + y * kData, d + y * kData);
#pragma GCC unroll 8
        for (int x = 0; x < kData; ++x) Vec::Store(v + (y * kData + x) * v_datum + c, d[y * kData + x]);
      }
    }
  }

  static void Weights(const float* w, int64_t w_tap, int64_t columns, float* u, int64_t u_point) {
    for (int64_t k = 0; k < columns; k += Vec::kLanes) {
      Vec::T g[9], half[3 * kPoints], line[kPoints];
      for (int t = 0; t < 9; ++t) g[t] = Vec::Load(w + t * w_tap + k);
      for (int x = 0; x < 3; ++x) Line::Weights(g + x, 3, half + x, 3);
      for (int y = 0; y < kPoints; ++y) {
        Line::Weights(half + 3 * y, 1, line, 1);
        for (int x = 0; x < kPoints; ++x) Vec::Store(u + (y * kPoints + x) * u_point + k, line[x]);
      }
    }
  }

  static int64_t Output(const Tile& tile, int64_t first) {
    for (int64_t k = first; k < tile.columns; k += Vec::kLanes) {
      Vec::T half[kSize * kPoints], out[kSize * kSize];
#pragma GCC unroll 8
      for (int x = 0; x < kPoints; ++x) {
        Vec::T column[kPoints], short_column[kSize];
#pragma GCC unroll 8
        for (int y = 0; y < kPoints; ++y) column[y] = Vec::Load(tile.m + (y * kPoints + x) * tile.m_point + k);
        Line::Output(column, short_column);
#pragma GCC unroll 8
        for (int y = 0; y < kSize; ++y) half[y * kPoints + x] = short_column[y];
      }
#pragma GCC unroll 8
      for (int y = 0; y < kSize; ++y) Line::Output(half + y * kPoints, out + y * kSize);

      Vec::T zero = Vec::All(0);  // stays so unless a number is not finite
#pragma GCC unroll 16
      for (const Vec::T& number : out) zero = Vec::MulAdd(number, Vec::All(0), zero);
      if (!Vec::IsZero(zero)) {
        if (tile.direct == nullptr) return k;
        Directly(*tile.direct, k, out);
      }
      Store(tile, k, out);
    }
    return tile.columns;
  }

 private:
  static INLINE void Store(const Tile& tile, int64_t k, const Vec::T* out) {
    const Vec::T bias = tile.bias != nullptr ? Vec::Load(tile.bias + k) : Vec::All(-0.f);
#pragma GCC unroll 16
    for (int pixel = 0; pixel < kSize * kSize; ++pixel) {
      const int64_t at = tile.at[pixel];
      if (at < 0) continue;
      Vec::T value = out[pixel] + bias;
      if (tile.add != nullptr) value = value + Vec::Load(tile.add + at * tile.add_row + k);
      if (tile.relu) value = Vec::Relu(value);
      float* result = tile.result + at * tile.result_row + k;
      Vec::Store(result, value);
      __builtin_prefetch(result + tile.to_next, 1);
    }
  }

  // By the definition of a convolution: exact where numbers are infinite or NaN, and slow.
  static __attribute__((noinline)) void Directly(const Direct& direct, int64_t k, Vec::T* out) {
    for (int pixel = 0; pixel < kSize * kSize; ++pixel) {
      const float* w = direct.weights + k;
      Vec::T sum = Vec::All(0);
      for (int64_t segment = 0; segment < direct.segments; ++segment)
        for (int tap = 0; tap < 9; ++tap) {
          const int y = Line::Pixel(pixel / kSize + tap / 3), x = Line::Pixel(pixel % kSize + tap % 3);
          const float* source = direct.pixels[segment * kPixels * kPixels + y * kPixels + x];
          for (int64_t c = 0; c < direct.channels; ++c, w += direct.weights_row)
            sum = Vec::MulAdd(Vec::All(source[c]), Vec::Load(w), sum);
        }
      out[pixel] = sum;
    }
  }
};

template <Method method>
constexpr Kernels kKernels = {kPanel, Tiles<method>::Input, MultiplyAll, Tiles<method>::Output, Tiles<method>::Weights};

const Kernels* KernelsFor(Method method) {
  switch (method) {
    case Method::kTwo: return &kKernels<Method::kTwo>;
    case Method::kFour: return &kKernels<Method::kFour>;
    default: return &kKernels<Method::kDoubled>;
  }
}
