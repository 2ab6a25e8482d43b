#include "plan.h"

#include <omp.h>

#include <algorithm>
#include <limits>

#include "../../scratch.h"

namespace collage::grouped {
namespace {

constexpr double kWorthThread = 5e4;  // multiplications; with fewer, waking another thread takes longer
constexpr double kCopied = 4;         // multiplications in the time that copying a pixel takes
constexpr double kItem = 500;         // multiplications in the time that starting an item takes
constexpr double kLate = 1. / 4;      // of an item: so late is the last thread, for others run on its core too

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

Plan::Plan(std::string_view spec)
    : problem_(ParseProblem(spec)), layout_(problem_), kernels_(Choose(kOffers, problem_.isa)) {
  width_ = std::max(problem_.group, kBlock);
  chunk_size_ = layout_.pixels * kernels_->lanes;
  pointer_bytes_ = AlignUp(layout_.runs.size() * sizeof(const float*));
  // The rows that a result reads, and one of zeros.
  scratch_bytes_ = pointer_bytes_ + AlignUp((problem_.span(0) + 1) * copy_size() * sizeof(float));
  ChooseItems();
}

void Plan::ChooseItems() {
  const Problem& p = problem_;
  const int64_t parts = p.batch * CeilDiv(p.channels, width_);
  const double row = static_cast<double>(p.dst[1] * p.taps() * p.group);
  const double copy = kCopied * static_cast<double>(layout_.pixels);
  const double work = static_cast<double>(parts * width_) * (row + copy) * static_cast<double>(p.dst[0]);
  threads_ = static_cast<int>(std::clamp<double>(work / kWorthThread, 1, Threads()));
  double least = std::numeric_limits<double>::infinity();
  for (int64_t r = 1; r <= std::min<int64_t>(p.dst[0], 8 * threads_); ++r) {
    const int64_t rows = CeilDiv(p.dst[0], r), copied = (rows - 1) * std::min(p.strides[0], p.span(0)) + p.span(0);
    const double item = static_cast<double>(rows) * row + static_cast<double>(copied) * copy + kItem;
    const double rounds = static_cast<double>(CeilDiv(r * parts, threads_)) + (threads_ > 1 ? kLate : 0);
    if (rounds * item < least) least = rounds * item, row_blocks_ = r;
  }
  threads_ = static_cast<int>(std::min<int64_t>(threads_, row_blocks_ * parts));
}

std::vector<size_t> Plan::OperandBytes() const {
  const Problem& p = problem_;
  std::vector<int64_t> elements;
  if (!p.packs) elements.push_back(p.source_size());
  elements.push_back(p.packed && !p.packs ? p.packed_size() : p.weights_size());
  if (p.bias && !p.packs) elements.push_back(p.channels);
  for (bool has : {p.add, p.gate})
    if (has && !p.packs) elements.push_back(p.summand_size());
  std::vector<size_t> bytes;
  for (int64_t number : elements) bytes.push_back(number * sizeof(float));
  return bytes;
}

size_t Plan::ResultBytes() const {
  return (problem_.packs ? problem_.packed_size() : problem_.result_size()) * sizeof(float);
}

void Plan::Run(const void* const* operands, void* result) const {
  const Problem& p = problem_;
  auto next = [&] { return static_cast<const float*>(*operands++); };
  Arrays arrays{};
  if (!p.packs) arrays.source = next();
  arrays.weights = next();
  if (p.packs) return Pack(arrays.weights, static_cast<float*>(result));
  if (p.bias) arrays.bias = next();
  if (p.add) arrays.add = next();
  if (p.gate) arrays.gate = next();
  arrays.result = static_cast<float*>(result);

  const size_t packed_bytes = p.packed ? 0 : AlignUp(p.packed_size() * sizeof(float));
  std::byte* scratch = ThreadScratch(packed_bytes + scratch_bytes_ * threads_);
  if (!p.packed) {
    Pack(arrays.weights, reinterpret_cast<float*>(scratch));
    arrays.weights = reinterpret_cast<const float*>(scratch);
  }
  const int64_t items = p.batch * CeilDiv(p.channels, width_) * row_blocks_;
  std::byte* own = scratch + packed_bytes;
  if (threads_ == 1) {
    for (int64_t item = 0; item < items; ++item) RunItem(arrays, ItemAt(item), own);
    return;
  }
#pragma omp parallel for schedule(dynamic) num_threads(threads_)
  for (int64_t item = 0; item < items; ++item) RunItem(arrays, ItemAt(item), own + omp_get_thread_num() * scratch_bytes_);
}

}  // namespace collage::grouped
