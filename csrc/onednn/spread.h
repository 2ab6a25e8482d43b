// Loops over the elements of an array beside the library's primitives.
#pragma once

#include <algorithm>
#include <cstdint>

#include <dnnl_config.h>

// Compiled for several instruction sets, of which the best that the processor has is taken.
#define COLLAGE_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))

namespace collage::onednn {

// Below this many elements a second thread costs more than it saves.
constexpr int64_t kSerial = 1 << 14;

// Runs `chunk(begin, count)` over `count` items, at least `least` at a time, on the library's own threads where there
// are many.
template <typename Chunk>
void Spread(int64_t count, int64_t least, Chunk chunk) {
#if DNNL_CPU_RUNTIME == DNNL_RUNTIME_OMP
  const int64_t chunks = (count + least - 1) / least;
#pragma omp parallel for schedule(static) if (chunks > 1)
  for (int64_t i = 0; i < chunks; ++i) chunk(i * least, std::min(least, count - i * least));
#else
  chunk(0, count);
#endif
}

}  // namespace collage::onednn
