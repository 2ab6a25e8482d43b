#include "plan.h"

#include <omp.h>

#include "../../scratch.h"

namespace collage::sgemm {
namespace {

// So many products are summed in a row, and then those sums: the error grows with the root of the number of summands,
// and fewer at a time keep it small. The part of a panel in use also stays in the fastest cache.
constexpr int64_t kSummands = 256;

// Rows at a multiple of this distance share few lines of the fastest cache, fewer than a step has rows.
constexpr int64_t kBadDistance = 4096 / sizeof(float);

}  // namespace

Plan::Plan(std::string_view spec) : problem_(ParseProblem(spec)), kernels_(Choose(kOffers, problem_.isa)) {
  const Problem& p = problem_;
  const bool in_a_line = p.row_sizes[3] == p.rows && p.depth_step == 1;
  copies_ = !in_a_line || (p.row_steps[3] % kBadDistance == 0 && p.columns > kernels_->panel);
  a_row_ = copies_ ? (p.depth + kVector - 1) / kVector * kVector : p.row_steps[3];
  if (copies_ && a_row_ % kBadDistance == 0) a_row_ += kVector;
  ChooseBlocks();
  const int64_t block_rows = (p.rows + row_blocks_ - 1) / row_blocks_, rows = (block_rows + strips_ - 1) / strips_;
  const int64_t parts = (p.depth + kSummands - 1) / kSummands;
  summands_ = (p.depth + parts - 1) / parts;
  partial_size_ = p.depth > kSummands ? rows * kMostPanel : 0;
  copy_size_ = copies_ ? rows * a_row_ : 0;
}

void Plan::Run(const void* const* operands, void* result) const {
  const Problem& p = problem_;
  auto next = [&] { return static_cast<const float*>(*operands++); };
  Arrays arrays{};
  if (!p.packs) arrays.source = next();
  arrays.weights = next();
  if (p.packs) return PackAll(arrays.weights, static_cast<float*>(result));
  if (p.bias) arrays.bias = next();
  if (p.add) arrays.add = next();
  if (p.gate) arrays.gate = next();
  arrays.result = static_cast<float*>(result);

  const int64_t each = partial_size_ + copy_size_, packed_size = p.packed ? 0 : p.packed_size();
  auto* scratch = reinterpret_cast<float*>(ThreadScratch((packed_size + each * threads_) * sizeof(float)));
  if (!p.packed) {
    PackAll(arrays.weights, scratch);
    arrays.weights = scratch;
  }
  const int64_t blocks = row_blocks_ * column_blocks_;
  float* own = scratch + packed_size;
  if (threads_ == 1) {
    for (int64_t block = 0; block < blocks; ++block) RunBlock(arrays, block, own);
    return;
  }
#pragma omp parallel for schedule(dynamic) num_threads(threads_)
  for (int64_t block = 0; block < blocks; ++block) RunBlock(arrays, block, own + omp_get_thread_num() * each);
}

}  // namespace collage::sgemm
