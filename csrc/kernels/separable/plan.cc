#include "plan.h"

#include <omp.h>

#include <algorithm>
#include <limits>

#include "../../scratch.h"
#include "../sgemm/panels.h"

namespace collage::separable {
namespace {

constexpr int64_t kBetween = 1 << 15;  // elements of what is between the two, for an item: an eighth of a usual cache
constexpr double kWorthThread = 5e4;   // multiplications; with fewer, waking another thread takes longer
constexpr int64_t kItems = 4;          // for each thread, if there are rows enough: none waits long for the last

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

Plan::Plan(std::string_view spec)
    : problem_(ParseProblem(spec)), depthwise_(problem_.depthwise), products_(Choose(sgemm::kOffers, problem_.isa)) {
  const Problem& p = problem_;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  tail_ = {1, -kInfinity, p.low, p.high, false, false, p.low != -kInfinity, p.high != kInfinity};
  const double pixels = static_cast<double>(p.images * p.rows * p.width);
  const double work = pixels * static_cast<double>(p.channels) * static_cast<double>(p.columns);
  threads_ = static_cast<int>(std::clamp<double>(work / kWorthThread, 1, Threads()));
  const int64_t fitting = CeilDiv(p.rows, std::max<int64_t>(1, kBetween / (p.width * p.channels)));
  const int64_t shared = threads_ > 1 ? CeilDiv(kItems * threads_, p.images) : 1;
  row_blocks_ = std::min(p.rows, std::max(fitting, shared));
  threads_ = static_cast<int>(std::min<int64_t>(threads_, p.images * row_blocks_));
  const int64_t most_pixels = CeilDiv(p.rows, row_blocks_) * p.width;
  between_bytes_ = AlignUp(most_pixels * p.channels * sizeof(float));
  partial_bytes_ = AlignUp(most_pixels * sgemm::kMostPanel * sizeof(float));
}

std::vector<size_t> Plan::OperandBytes() const {
  const Problem& p = problem_;
  if (p.packs) return {static_cast<size_t>(p.channels * p.columns) * sizeof(float)};
  const grouped::Problem& inner = depthwise_.problem();
  std::vector<int64_t> elements{inner.source_size(), inner.packed_size(), p.packed_size()};
  if (p.bias) elements.push_back(p.columns);
  if (p.add) elements.push_back(p.images * p.rows * p.width * p.columns);
  std::vector<size_t> bytes;
  for (int64_t number : elements) bytes.push_back(number * sizeof(float));
  return bytes;
}

size_t Plan::ResultBytes() const {
  const Problem& p = problem_;
  return (p.packs ? p.packed_size() : (p.images * p.rows * p.width - 1) * p.result_row + p.columns) * sizeof(float);
}

void Plan::Run(const void* const* operands, void* result) const {
  const Problem& p = problem_;
  auto next = [&] { return static_cast<const float*>(*operands++); };
  if (p.packs)
    return sgemm::PackMatrix(*products_, next(), p.columns, 1, p.channels, p.columns, static_cast<float*>(result));
  Arrays arrays{};
  arrays.source = next(), arrays.depthwise = next(), arrays.pointwise = next();
  if (p.bias) arrays.bias = next();
  if (p.add) arrays.add = next();
  arrays.result = static_cast<float*>(result);
  const int64_t items = p.images * row_blocks_;
  const size_t each = between_bytes_ + partial_bytes_ + depthwise_.scratch_bytes();
  std::byte* scratch = ThreadScratch(each * threads_);
  if (threads_ == 1) {
    for (int64_t item = 0; item < items; ++item) RunItem(arrays, item, scratch);
    return;
  }
#pragma omp parallel for schedule(dynamic) num_threads(threads_)
  for (int64_t item = 0; item < items; ++item) RunItem(arrays, item, scratch + omp_get_thread_num() * each);
}

void Plan::RunItem(const Arrays& arrays, int64_t item, std::byte* scratch) const {
  const Problem& p = problem_;
  const int64_t image = item / row_blocks_, block = item % row_blocks_;
  const int64_t first = p.rows * block / row_blocks_, end = p.rows * (block + 1) / row_blocks_;
  auto* between = reinterpret_cast<float*>(scratch);
  auto* partial = reinterpret_cast<float*>(scratch + between_bytes_);
  const grouped::Problem& inner = depthwise_.problem();
  grouped::Arrays depthwise{};
  depthwise.source = arrays.source + image * (inner.source_size() / inner.batch);
  depthwise.weights = arrays.depthwise;
  depthwise.result = between;
  depthwise_.RunRows(depthwise, first, end, scratch + between_bytes_ + partial_bytes_);

  const int64_t pixel = (image * p.rows + first) * p.width;
  sgemm::Task task{};
  task.a = between, task.a_row = p.channels, task.rows = (end - first) * p.width;
  task.partial = partial;
  task.tail = &tail_;
  task.bias = arrays.bias;
  task.add = arrays.add == nullptr ? nullptr : arrays.add + pixel * p.columns, task.add_row = p.columns;
  task.result = arrays.result + pixel * p.result_row, task.result_row = p.result_row;
  sgemm::MultiplyPanels(*products_, task, p.channels, p.columns, arrays.pointwise);
}

}  // namespace collage::separable
