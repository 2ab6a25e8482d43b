// How the work is divided.
//
// Apart: each thread takes blocks of tiles whose transformed patches and products stay in its core's own cache, and
// reads all weights for each. Together: all threads transform all patches, then each multiplies with its share of the
// weights. Weights then pass through a cache once, which counts where they are more than a cache holds and than
// everything else. It costs three waits of all for all.
#include <omp.h>
#include <unistd.h>

#include "plan.h"

namespace collage::winograd {
namespace {

// Rows of a matrix product: fewer use the registers badly, or leave a thread hardly any work.
constexpr int64_t kGoodRows = 12, kLeastRows = 4;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Elements in a core's own cache.
int64_t CacheSize() {
  const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return (bytes > 0 ? bytes : 1 << 20) / static_cast<int64_t>(sizeof(float));
}

int64_t Slices(const Problem& p, int64_t depths) {
  return std::min(p.depth, (depths - 1) * p.stride_depth + (p.kernel_depth - 1) * p.dilation_depth + 1);
}

}  // namespace

void Plan::ChooseBlocks() {
  const Problem& p = problem_;
  threads_ = Threads();
  auto elements_per_tile = [&](int64_t depths, int64_t columns) {
    return p.data() * Slices(p, depths) * p.channels + p.points() * depths * columns;
  };
  const int64_t everything = p.tiles() * elements_per_tile(p.out_depth, p.out_channels);
  together_ = p.tiles() * p.out_depth < kLeastRows * threads_ ||
              p.packed_size() > std::max(2 * everything, CacheSize());
  if (together_) {
    block_tiles_ = p.tiles();
    block_depths_ = p.out_depth;
  } else {
    const int64_t budget = CacheSize() / 2;  // for weights and images pass through it too
    const int64_t columns = std::min<int64_t>(p.out_channels, kBlockVectors * kVector);
    const int64_t least_tiles = std::min(kGoodRows, p.tiles());
    block_depths_ = p.out_depth;
    while (block_depths_ > 1 && elements_per_tile(block_depths_, columns) * least_tiles > budget) --block_depths_;
    block_tiles_ = std::clamp(budget / elements_per_tile(block_depths_, columns), least_tiles, p.tiles());
    // As many blocks for each thread, all about equal.
    const int64_t depth_blocks = CeilDiv(p.out_depth, block_depths_);
    const int64_t blocks = CeilDiv(CeilDiv(p.tiles(), block_tiles_) * depth_blocks, threads_) * threads_;
    block_tiles_ = CeilDiv(p.tiles(), CeilDiv(blocks, depth_blocks));
  }
  most_slices_ = Slices(p, block_depths_);
}

int64_t Plan::MSize() const {
  const int64_t rows = block_depths_ * block_tiles_;
  if (together_) return MStart(rows, groups());
  int64_t widest = 0;
  for (int64_t group = 0; group < groups(); ++group) widest = std::max(widest, GroupSize(group));
  return problem_.points() * MPoint(rows, widest);
}

int64_t Plan::BlockCount() const {
  return CeilDiv(problem_.tiles(), block_tiles_) * CeilDiv(problem_.out_depth, block_depths_);
}

Block Plan::BlockAt(int64_t index) const {
  const Problem& p = problem_;
  const int64_t tile_blocks = CeilDiv(p.tiles(), block_tiles_);
  Block block{};
  block.tile = index % tile_blocks * block_tiles_;
  block.tiles = std::min(block_tiles_, p.tiles() - block.tile);
  block.depth = index / tile_blocks * block_depths_;
  block.depths = std::min(block_depths_, p.out_depth - block.depth);
  const int64_t first = block.depth * p.stride_depth - p.pad_depth;
  const int64_t end = first + (block.depths - 1) * p.stride_depth + (p.kernel_depth - 1) * p.dilation_depth + 1;
  block.slice = std::clamp<int64_t>(first, 0, p.depth);
  block.slices = std::clamp<int64_t>(end, block.slice, p.depth) - block.slice;
  return block;
}

}  // namespace collage::winograd
