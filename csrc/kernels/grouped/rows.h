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

void Copy(const Copying& c) {
  const Vec::Mask lanes = Vec::First(c.lanes);
  const float* from = c.from;
  float* to = c.to;
  for (int64_t left = c.pixels; left > 0; --left, from += c.step, to += Vec::kLanes) {
    __builtin_prefetch(from + c.next);
    const Vec::T pixel = Vec::Load(from, lanes);
    Vec::Store(to, c.relu ? Vec::Max(Vec::All(0), pixel) : pixel);
  }
}

constexpr Kernels kKernels = {Vec::kLanes, Convolve, Copy};
