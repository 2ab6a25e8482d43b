// A step: some neighbouring results of a row, with every sum in a register. Included once per instruction set, inside
// its namespace, after `Vec`.

// How a vector of results meets the channels of its group: each lane its own; each lane one of a few, of those that
// share a register; or all lanes the same one.
enum class Meet { kOwn, kPermuted, kSame };

template <Meet meet>
struct Channel {  // of the group, in all lanes that read it
  Vec::Index index;
  int64_t at = 0;
  explicit INLINE Channel(int64_t group) : index(Vec::GroupStarts(static_cast<int>(group))) {}
  INLINE void Next() { ++at, index = Vec::NextIndex(index); }
  INLINE Vec::T Load(const float* pixel) const {
    if constexpr (meet == Meet::kSame) return Vec::All(pixel[at]);
    if constexpr (meet == Meet::kPermuted) return Vec::Permute(Vec::Load(pixel), index);
    return Vec::Load(pixel);
  }
};

// Adds all runs of `Taps` taps. A pixel is loaded once for all of them.
template <Meet meet, int Pixels, int Taps>
INLINE void AddRuns(const Row& row, int64_t start, const float* const*& run, const float*& weights,
                    Vec::T (&sums)[Pixels]) {
  const int64_t channels = meet == Meet::kOwn ? 1 : meet == Meet::kSame ? Vec::kLanes : row.group;
  for (const float* const* end = run + row.counts[kLongest - Taps]; run != end; ++run) {
    const float* pixels = *run + start;
    for (int64_t chunk = meet == Meet::kSame ? row.chunks : 1; chunk > 0; --chunk, pixels += row.chunk_step) {
      Channel<meet> channel(row.group);
      for (int64_t left = channels; left > 0; --left, channel.Next(), weights += Taps * kBlock) {
        // Else all are loaded before the loop, and registers run out.
        if (meet == Meet::kPermuted) asm("" : "+r"(pixels));
        Vec::T tap[Taps];
#pragma GCC unroll 4
        for (int i = 0; i < Taps; ++i) tap[i] = Vec::Load(weights + i * kBlock);
#pragma GCC unroll 32
        for (int at = 0; at < Pixels + Taps - 1; ++at) {
          Vec::T pixel = channel.Load(pixels + at * Vec::kLanes);
          if (meet != Meet::kSame) asm("" : "+v"(pixel));  // else every product loads it anew
#pragma GCC unroll 4
          for (int i = 0; i < Taps; ++i)
            if (at - i >= 0 && at - i < Pixels) sums[at - i] = Vec::MulAdd(pixel, tap[i], sums[at - i]);
        }
      }
    }
  }
}

template <Meet meet, int Pixels>
void Step(const Row& row, int64_t first) {
  Vec::T sums[Pixels];
  const Vec::Mask lanes = Vec::First(row.lanes);
  float* result = row.result + first * row.pixel;
#pragma GCC unroll 16
  for (int i = 0; i < Pixels; ++i) sums[i] = Vec::All(0);

  const float* const* run = row.runs;
  const float* weights = row.weights;
  const int64_t start = row.start + first * Vec::kLanes;
  AddRuns<meet, Pixels, 3>(row, start, run, weights, sums);
  AddRuns<meet, Pixels, 2>(row, start, run, weights, sums);
  AddRuns<meet, Pixels, 1>(row, start, run, weights, sums);

  const auto each = [&](auto function) INLINE_LAMBDA {
#pragma GCC unroll 16
    for (int i = 0; i < Pixels; ++i) sums[i] = function(sums[i], i);
  };
  if (row.bias != nullptr) {
    const Vec::T bias = Vec::Load(row.bias, lanes);
    each([&](Vec::T sum, int) INLINE_LAMBDA { return sum + bias; });
  }
  if (row.add != nullptr) {
    const float* add = row.add + first * row.add_pixel;
    each([&](Vec::T sum, int i) INLINE_LAMBDA { return sum + Vec::Load(add + i * row.add_pixel, lanes); });
  }
  const Vec::T low = Vec::All(row.tail->low), high = Vec::All(row.tail->high);
  if (row.tail->has_low) each([&](Vec::T sum, int) INLINE_LAMBDA { return Vec::Max(low, sum); });
  if (row.tail->has_high) each([&](Vec::T sum, int) INLINE_LAMBDA { return Vec::Min(high, sum); });
  if (row.gate != nullptr) {
    const float* gate = row.gate + first * row.add_pixel;
    each([&](Vec::T sum, int i) INLINE_LAMBDA { return Vec::Gate(Vec::Load(gate + i * row.add_pixel, lanes), sum); });
  }
#pragma GCC unroll 16
  for (int i = 0; i < Pixels; ++i, result += row.pixel)
    row.lanes < Vec::kLanes ? Vec::Store(result, sums[i], lanes) : Vec::Store(result, sums[i]);
}
