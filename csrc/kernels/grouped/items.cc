// An item of work: some rows of one image, in one block of channels; and the weights of a block.
#include <algorithm>

#include "../../scratch.h"
#include "plan.h"

namespace collage::grouped {

Plan::Item Plan::ItemAt(int64_t number) const {
  const Problem& p = problem_;
  const int64_t across = (p.channels + width_ - 1) / width_;
  const int64_t channel = number % across * width_, rows = number / across % row_blocks_;
  return {number / across / row_blocks_, channel, std::min(channel + width_, p.channels),
          p.dst[0] * rows / row_blocks_, p.dst[0] * (rows + 1) / row_blocks_, 0};
}

void Plan::RunRows(const Arrays& arrays, int64_t first_row, int64_t end_row, std::byte* scratch) const {
  for (int64_t channel = 0; channel < problem_.channels; channel += width_)
    RunItem(arrays, {0, channel, std::min(channel + width_, problem_.channels), first_row, end_row, first_row}, scratch);
}

void Plan::RunItem(const Arrays& arrays, const Item& item, std::byte* scratch) const {
  const Problem& p = problem_;
  const auto [image, first_channel, end_channel, first_row, end_row, origin] = item;
  auto* runs = reinterpret_cast<const float**>(scratch);
  auto* copies = reinterpret_cast<float*>(scratch + pointer_bytes_);
  const int64_t span = p.span(0);
  std::fill_n(copies, (span + 1) * copy_size(), 0.f);  // around each row it stays so
  const float* zeros = copies + span * copy_size();

  // Rows of the padded source. Each is copied once, to where the one was that is read no more.
  const auto is_inside = [&](int64_t row) { return row >= p.pads[0] && row - p.pads[0] < p.src[0]; };
  const float* source = arrays.source + image * p.src[0] * p.src[1] * p.channels + first_channel;
  int64_t copied = 0;
  for (int64_t y = first_row; y < end_row; ++y) {
    const int64_t first = y * p.strides[0];
    for (copied = std::max(copied, first); copied < first + span; ++copied)
      if (is_inside(copied))
        CopyRow(source + (copied - p.pads[0]) * p.src[1] * p.channels, end_channel - first_channel,
                copies + copied % span * copy_size());
    const int64_t first_place = first % span;
    for (size_t i = 0; i < layout_.runs.size(); ++i) {
      const int64_t down = layout_.runs[i].row * p.dilation[0];
      const int64_t place = first_place + down < span ? first_place + down : first_place + down - span;
      runs[i] = (is_inside(first + down) ? copies + place * copy_size() : zeros) +
                layout_.runs[i].start * kernels_->lanes;
    }
    for (int64_t channel = first_channel; channel < end_channel; channel += kernels_->lanes)
      RunRow(arrays, channel, (image * p.dst[0] + y - origin) * p.dst[1], runs);
  }
}

// A row in the vector that starts at `channel`, from `pixel` of the result on.
void Plan::RunRow(const Arrays& arrays, int64_t channel, int64_t pixel, const float* const* runs) const {
  const Problem& p = problem_;
  const int64_t lanes = kernels_->lanes, group = std::max(p.group, lanes), in_block = channel % kBlock;
  Row row{};
  row.runs = runs;
  std::copy_n(layout_.counts, kLongest, row.counts);
  row.weights = arrays.weights + (channel - in_block) * p.taps() * p.group + in_block;
  row.group = p.group, row.chunks = group / lanes, row.chunk_step = chunk_size_;
  row.start = channel % width_ / group * row.chunks * chunk_size_;
  row.width = p.dst[1], row.lanes = std::min(lanes, p.channels - channel), row.pixel = p.result_row, row.add_pixel = p.channels;
  row.tail = &p.tail;
  row.bias = p.bias ? arrays.bias + channel : nullptr;
  row.add = p.add ? arrays.add + pixel * p.channels + channel : nullptr;
  row.gate = p.gate ? arrays.gate + pixel * p.channels + channel : nullptr;
  row.result = arrays.result + pixel * p.result_row + channel;
  kernels_->convolve(row);
}

void Plan::CopyRow(const float* row, int64_t channels, float* to) const {
  const Problem& p = problem_;
  Copying copying{};
  copying.step = p.strides[1] * p.channels, copying.next = p.src[1] * p.channels, copying.relu = p.relu;
  copying.chunk = chunk_size_;
  for (int64_t left = channels; left > 0; left -= kBlock, row += kBlock, to += kBlock / kernels_->lanes * chunk_size_)
    for (const Phase& phase : layout_.phases) {
      copying.from = row + (phase.column + phase.first * p.strides[1]) * p.channels;
      copying.to = to + (phase.start + phase.first) * kernels_->lanes;
      copying.pixels = phase.end - phase.first;
      copying.channels = left;
      kernels_->copy(copying);
    }
}

void Plan::Pack(const float* weights, float* packed) const {
#pragma omp parallel for num_threads(threads_) if (threads_ > 1)
  for (int64_t block = 0; block < problem_.blocks(); ++block) PackBlock(weights, packed, block);
}

// Weights arrive as [row][column][channel of the group][channel]. Those of channels that there are not become zero.
void Plan::PackBlock(const float* weights, float* packed, int64_t block) const {
  const Problem& p = problem_;
  const int64_t first = block * kBlock, channels = std::min(kBlock, p.channels - first);
  float* to = packed + first * p.taps() * p.group;
  for (const TapRun& run : layout_.runs)
    for (int64_t channel = 0; channel < p.group; ++channel)
      for (int64_t tap = 0; tap < run.taps; ++tap, to += kBlock) {
        const int64_t at = run.row * p.kernel[1] + run.column + tap * run.step;
        const float* from = weights + (at * p.group + channel) * p.channels + first;
        std::fill(std::copy_n(from, channels, to), to + kBlock, 0.f);
      }
}

}  // namespace collage::grouped
