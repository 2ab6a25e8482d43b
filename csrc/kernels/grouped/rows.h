// Whole rows. Included once per instruction set, inside its namespace, after convolve.h.

using StepKernel = void (*)(const Row&, int64_t);

template <Meet meet, size_t... Pixels>
constexpr std::array<StepKernel, sizeof...(Pixels)> StepKernels(std::index_sequence<Pixels...>) {
  return {&Step<meet, static_cast<int>(Pixels) + 1>...};
}

// In steps as equal as can be: short ones use the registers badly.
template <Meet meet>
void ConvolveRow(const Row& row) {
  static constexpr auto kernels = StepKernels<meet>(std::make_index_sequence<Vec::kPixels>());
  int64_t first = 0;
  for (int64_t steps = (row.width + Vec::kPixels - 1) / Vec::kPixels; steps > 0; --steps) {
    const int64_t pixels = (row.width - first) / steps;
    kernels[pixels - 1](row, first);
    first += pixels;
  }
}

void Convolve(const Row& row) {
  if (row.group == 1) return ConvolveRow<Meet::kOwn>(row);
  row.group < Vec::kLanes ? ConvolveRow<Meet::kPermuted>(row) : ConvolveRow<Meet::kSame>(row);
}

// All that a pixel has in a line of the cache at once: pixels are often so far apart that few lines of them stay.
void Copy(const Copying& c) {
  constexpr int kVectors = kBlock / Vec::kLanes;
  Vec::Mask lanes[kVectors];
  for (int v = 0; v < kVectors; ++v) lanes[v] = Vec::First(c.channels - v * Vec::kLanes);
  const float* from = c.from;
  float* to = c.to;
  for (int64_t left = c.pixels; left > 0; --left, from += c.step, to += Vec::kLanes) {
    __builtin_prefetch(from + c.next);
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      if (v > 0 && c.channels <= v * Vec::kLanes) break;
      const Vec::T pixel = Vec::Load(from + v * Vec::kLanes, lanes[v]);
      Vec::Store(to + v * c.chunk, c.relu ? Vec::Max(Vec::All(0), pixel) : pixel);
    }
  }
}

constexpr Kernels kKernels = {Vec::kLanes, Convolve, Copy};
