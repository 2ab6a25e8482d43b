#include "plan.h"

#include <omp.h>

#include <algorithm>
#include <limits>

#include "../../scratch.h"
#include "../sgemm/panels.h"
#include "sums.h"

namespace collage::narrow {
namespace {

constexpr double kWorthThread = 5e4;  // multiplications; with fewer, waking another thread takes longer
constexpr int64_t kItems = 4;         // for each thread, if there are rows enough: none waits long for the last
constexpr int64_t kRowsPerLine = 8;   // rows of an item for each line that another item computes too

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t RoundUp(int64_t number, int64_t step) { return CeilDiv(number, step) * step; }

}  // namespace

Plan::Plan(std::string_view spec) : problem_(ParseProblem(spec)), products_(Choose(sgemm::kOffers, problem_.isa)) {
  const Problem& p = problem_;
  const double products = static_cast<double>(p.batch * p.height * p.width) * static_cast<double>(p.weights_size());
  threads_ = static_cast<int>(std::clamp<double>(products / kWorthThread, 1, Threads()));
  lines_ = (p.kernel_height - 1) * p.dilation_height + 1;
  const int64_t worth = std::max<int64_t>(1, p.out_height / (kRowsPerLine * lines_));
  row_blocks_ = threads_ > 1 ? std::min({p.out_height, CeilDiv(kItems * threads_, p.batch), std::max<int64_t>(
                                         worth, CeilDiv(threads_, p.batch))})
                             : 1;
  threads_ = static_cast<int>(std::min<int64_t>(threads_, p.batch * row_blocks_));
  // A line holds the pixels that the row's windows meet, from the first of the first to the last of the last.
  const int64_t width = p.out_width + (p.kernel_width - 1) * p.dilation_width;
  first_used_ = std::clamp<int64_t>(-p.pad_width, 0, p.width);
  left_ = std::clamp<int64_t>(p.pad_width, 0, width);
  used_ = std::clamp<int64_t>(width - p.pad_width, first_used_, p.width) - first_used_;
  right_ = width - left_ - used_;
  pixel_ = RoundUp(p.products(), sgemm::kVector);
  line_size_ = width * pixel_ + sgemm::kVector;  // sums read some lanes too many
  partial_size_ = used_ * sgemm::kMostPanel;
  pointers_size_ = RoundUp(CeilDiv(p.kernel_height * sizeof(const float*), sizeof(float)), sgemm::kVector);
}

std::vector<size_t> Plan::OperandBytes() const {
  const Problem& p = problem_;
  std::vector<int64_t> elements;
  if (!p.packs) elements.push_back(p.source_size());
  elements.push_back(p.packed && !p.packs ? p.packed_size() : p.weights_size());
  if (p.bias && !p.packs) elements.push_back(p.columns);
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
  if (p.packs) return Pack(next(), static_cast<float*>(result));
  Arrays arrays{};
  arrays.source = next(), arrays.packed = next();
  if (p.bias) arrays.bias = next();
  arrays.result = static_cast<float*>(result);
  const int64_t unpacked = p.packed ? 0 : RoundUp(p.packed_size(), sgemm::kVector);
  const int64_t each = pointers_size_ + partial_size_ + (lines_ + 1) * line_size_;  // a line of padding alone too
  auto* scratch = reinterpret_cast<float*>(ThreadScratch((unpacked + each * threads_) * sizeof(float)));
  if (!p.packed) {
    Pack(arrays.packed, scratch);
    arrays.packed = scratch;
  }
  const int64_t items = p.batch * row_blocks_;
#pragma omp parallel for schedule(dynamic) num_threads(threads_) if (threads_ > 1)
  for (int64_t item = 0; item < items; ++item)
    RunItem(arrays, item, scratch + unpacked + omp_get_thread_num() * each);
}

void Plan::Pack(const float* weights, float* packed) const {
  const Problem& p = problem_;
  sgemm::PackMatrix(*products_, weights, p.products(), 1, p.channels, p.products(), packed);
  // Zero, or NaN where weights are not finite.
  float* of_padding = packed + sgemm::PackedSize(p.channels, p.products());
  for (int64_t product = 0; product < p.products(); ++product) {
    of_padding[product] = 0;
    for (int64_t c = 0; c < p.channels; ++c) of_padding[product] += 0 * weights[c * p.products() + product];
  }
}

const float* Plan::OfPadding(const float* packed) const {
  return packed + sgemm::PackedSize(problem_.channels, problem_.products());
}

void Plan::RunItem(const Arrays& arrays, int64_t item, float* scratch) const {
  const Problem& p = problem_;
  const int64_t image = item / row_blocks_, block = item % row_blocks_;
  const int64_t begin = p.out_height * block / row_blocks_, end = p.out_height * (block + 1) / row_blocks_;
  auto** lines = reinterpret_cast<const float**>(scratch);
  float *partial = scratch + pointers_size_, *padding = partial + partial_size_, *kept = padding + line_size_;
  for (int64_t line = 0; line <= lines_; ++line)  // the padding at the ends of lines stays
    for (int64_t x = 0; x < left_ + used_ + right_; ++x)
      if (line == 0 || x < left_ || x >= left_ + used_)
        std::copy_n(OfPadding(arrays.packed), p.products(), padding + line * line_size_ + x * pixel_);

  float bias[kMostColumns] = {};
  if (p.bias) std::copy_n(arrays.bias, p.columns, bias);
  Row row{lines, p.kernel_height, p.kernel_width, pixel_, p.dilation_width * pixel_ + p.columns, p.out_width,
          p.columns, bias, p.low, p.high, nullptr, p.result_row};
  // Rows of the source before this one are there, or are no longer needed.
  int64_t filled = std::clamp<int64_t>(begin - p.pad_height, 0, p.height);
  for (int64_t y = begin; y < end; ++y) {
    const int64_t top = y - p.pad_height;
    for (const int64_t end_row = std::min(top + lines_, p.height); filled < end_row; ++filled)
      FillLine(arrays, image, filled, partial, kept + filled % lines_ * line_size_);
    for (int64_t ky = 0; ky < p.kernel_height; ++ky) {
      const int64_t source_row = top + ky * p.dilation_height;
      const bool inside = source_row >= 0 && source_row < p.height;
      lines[ky] = inside ? kept + source_row % lines_ * line_size_ : padding;
    }
    row.result = arrays.result + (image * p.out_height + y) * p.out_width * p.result_row;
    SumTaps(row);
  }
}

void Plan::FillLine(const Arrays& arrays, int64_t image, int64_t row, float* partial, float* line) const {
  const Problem& p = problem_;
  if (used_ == 0) return;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  static constexpr sgemm::Tail kPlain{1, -kInfinity, -kInfinity, kInfinity, false, false, false, false};
  sgemm::Task task{};
  task.a = arrays.source + ((image * p.height + row) * p.width + first_used_) * p.channels;
  task.a_row = p.channels;
  task.rows = used_;
  task.partial = partial;
  task.tail = &kPlain;
  task.result = line + left_ * pixel_, task.result_row = pixel_;
  sgemm::MultiplyPanels(*products_, task, p.channels, p.products(), arrays.packed);
}

}  // namespace collage::narrow
