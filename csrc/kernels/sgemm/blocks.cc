// How the work is divided: into blocks of some rows and some panels. A thread multiplies all rows of a block with one
// panel after the other, so that the rows stay in its core's own cache and the weights pass through it once.
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "plan.h"

namespace collage::sgemm {
namespace {

constexpr double kWorthThread = 5e4;  // multiplications; with fewer, waking another thread takes longer
constexpr double kBlockSteps = 300;   // multiplications of a vector in the time that starting a block takes
constexpr double kLate = 1. / 64;     // of a block: so late is the last thread, for others run on its core too

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Elements in a core's own cache.
int64_t CacheSize() {
  const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return (bytes > 0 ? bytes : 1 << 20) / static_cast<int64_t>(sizeof(float));
}

}  // namespace

void Plan::ChooseBlocks() {
  const Problem& p = problem_;
  const double work = static_cast<double>(p.rows) * static_cast<double>(p.depth) * static_cast<double>(p.columns);
  threads_ = static_cast<int>(std::clamp<double>(work / kWorthThread, 1, Threads()));
  const int64_t most_rows = CeilDiv(p.rows, kernels_->most_rows), most_panels = panels();
  const int64_t budget = CacheSize() / 2;
  const int64_t fewest = std::clamp<int64_t>(CeilDiv(p.rows * p.depth, budget), 1, most_rows);

  double least = std::numeric_limits<double>::infinity();
  for (int64_t r = fewest; r <= std::min(most_rows, fewest + 4 * threads_); ++r)
    for (int64_t c = 1; c <= std::min<int64_t>(most_panels, 4 * threads_); ++c) {
      const int64_t rows = CeilDiv(p.rows, r), columns = CeilDiv(most_panels, c) * kernels_->panel;
      // In multiplications of a vector, for each of `depth`: every number of a block is read from afar once.
      const double block = static_cast<double>(rows * columns) / kVector + static_cast<double>(rows + columns) / 8 +
                           (copies_ ? static_cast<double>(rows) / 2 : 0) + kBlockSteps / static_cast<double>(p.depth);
      const double rounds = static_cast<double>(CeilDiv(r * c, threads_)) + (threads_ > 1 ? kLate : 0);
      if (rounds * block < least) least = rounds * block, row_blocks_ = r, column_blocks_ = c;
    }

  threads_ = static_cast<int>(std::min<int64_t>(threads_, row_blocks_ * column_blocks_));
  far_ = p.rows * (p.depth + p.columns) > 2 * budget * threads_;
  // The larger of the two passes by once, brought near ahead of its use, while the other stays near: all weights of a
  // block while its rows pass step by step, or else its rows while the weights pass panel by panel.
  const int64_t block_rows = CeilDiv(p.rows, row_blocks_);
  const int64_t block_columns = CeilDiv(most_panels, column_blocks_) * kernels_->panel;
  // What is transposed is copied by lines of the cache, each of which has more rows than a step.
  strips_ = p.rows > p.columns && block_columns * p.depth <= budget && p.depth_step == 1 ? CeilDiv(block_rows, kernels_->most_rows) : 1;
}

}  // namespace collage::sgemm
