// Patches in, tiles out, for one tile size. Included once per instruction set, inside its namespace, after `Vec`.

template <int Size>
struct Tiles {
  static constexpr int kPoints = Size + 2, kPatch = kPoints * kPoints;
  using Line = Transform<Size>;

  static void Input(const float* const* pixels, int64_t channels, float* v, int64_t v_point) {
    for (int64_t c = 0; c < channels; c += Vec::kLanes) {
      Vec::T d[kPatch];
#pragma GCC unroll 8
      for (int x = 0; x < kPoints; ++x) {
        Vec::T column[kPoints];
#pragma GCC unroll 8
        for (int y = 0; y < kPoints; ++y) {
          const float* pixel = pixels[y * kPoints + x] + c;
          column[y] = Vec::Load(pixel);
          // What the tile to the right will read and this one does not; the processor does not see so many streams.
          if (x >= 2) __builtin_prefetch(pixel + Size * channels);
        }
        Line::Input(column, column);
#pragma GCC unroll 8
        for (int y = 0; y < kPoints; ++y) d[y * kPoints + x] = column[y];
      }
#pragma GCC unroll 8
      for (int y = 0; y < kPoints; ++y) {
        Line::Input(d + y * kPoints, d + y * kPoints);
#pragma GCC unroll 8
        for (int x = 0; x < kPoints; ++x) Vec::Store(v + (y * kPoints + x) * v_point + c, d[y * kPoints + x]);
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
      Vec::T half[Size * kPoints], out[Size * Size];
#pragma GCC unroll 8
      for (int x = 0; x < kPoints; ++x) {
        Vec::T column[kPoints], short_column[Size];
#pragma GCC unroll 8
        for (int y = 0; y < kPoints; ++y) column[y] = Vec::Load(tile.m + (y * kPoints + x) * tile.m_point + k);
        Line::Output(column, short_column);
#pragma GCC unroll 8
        for (int y = 0; y < Size; ++y) half[y * kPoints + x] = short_column[y];
      }
#pragma GCC unroll 8
      for (int y = 0; y < Size; ++y) Line::Output(half + y * kPoints, out + y * Size);

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
    for (int pixel = 0; pixel < Size * Size; ++pixel) {
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
    for (int pixel = 0; pixel < Size * Size; ++pixel) {
      const float* w = direct.weights + k;
      Vec::T sum = Vec::All(0);
      for (int64_t segment = 0; segment < direct.segments; ++segment)
        for (int tap = 0; tap < 9; ++tap) {
          const int y = pixel / Size + tap / 3, x = pixel % Size + tap % 3;
          const float* source = direct.pixels[segment * kPatch + y * kPoints + x];
          for (int64_t c = 0; c < direct.channels; ++c, w += direct.weights_row)
            sum = Vec::MulAdd(Vec::All(source[c]), Vec::Load(w), sum);
        }
      out[pixel] = sum;
    }
  }
};

const Kernels* KernelsFor(int tile) {
  static constexpr Kernels kTwo = {Tiles<2>::Input, MultiplyAll, Tiles<2>::Output, Tiles<2>::Weights};
  static constexpr Kernels kFour = {Tiles<4>::Input, MultiplyAll, Tiles<4>::Output, Tiles<4>::Weights};
  return tile == 2 ? &kTwo : tile == 4 ? &kFour : nullptr;
}
