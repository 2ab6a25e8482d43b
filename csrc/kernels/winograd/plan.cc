#include "plan.h"

#include <omp.h>

#include "../../scratch.h"

namespace collage::winograd {

Plan::Plan(std::string_view spec)
    : problem_(ParseProblem(spec)), kernels_(Choose(kOffers, problem_.isa, problem_.method)), zeros_(problem_.channels) {
  ChooseBlocks();
}

std::vector<size_t> Plan::OperandBytes() const {
  const Problem& p = problem_;
  std::vector<int64_t> elements;
  if (!p.packs) elements.push_back(p.source_size());
  elements.push_back(p.weights_size());
  if (!p.packs && p.packed) elements.push_back(p.packed_size());
  if (!p.packs && p.bias) elements.push_back(p.out_channels);
  if (!p.packs && p.add) elements.push_back(p.summand_size());
  std::vector<size_t> bytes;
  for (int64_t count : elements) bytes.push_back(count * sizeof(float));
  return bytes;
}

size_t Plan::ResultBytes() const {
  return (problem_.packs ? problem_.packed_size() : problem_.result_size()) * sizeof(float);
}

void Plan::Run(const void* const* operands, void* result) const {
  const Problem& p = problem_;
  auto next = [&operands] { return static_cast<const float*>(*operands++); };
  Arrays arrays{};
  arrays.result = static_cast<float*>(result);
  if (!p.packs) arrays.source = next();
  arrays.weights = next();
  if (p.packs) return Pack(arrays.weights, arrays.result);
  if (p.packed) arrays.packed = next();
  if (p.bias) arrays.bias = next();
  if (p.add) arrays.add = next();
  Convolve(arrays);
}

void Plan::Convolve(const Arrays& given) const {
  Arrays arrays = given;
  const int64_t unpacked = problem_.packed ? 0 : problem_.packed_size();
  const int64_t working = (VSize() + MSize()) * (together_ ? 1 : threads_);
  const size_t pointer_bytes = AlignUp(threads_ * Pixels() * sizeof(float*));
  std::byte* const memory = ThreadScratch(pointer_bytes + (unpacked + working) * sizeof(float));
  auto** pixels = reinterpret_cast<const float**>(memory);
  auto* scratch = reinterpret_cast<float*>(memory + pointer_bytes);
  if (!problem_.packed) {
    Pack(arrays.weights, scratch);
    arrays.packed = scratch;
  }
  together_ ? RunTogether(arrays, scratch + unpacked, pixels) : RunApart(arrays, scratch + unpacked, pixels);
}

// Weights arrive as [depth][3][3][channel][output channel], and leave as
// [group][point][panel][depth][channel][of the panel].
void Plan::Pack(const float* weights, float* packed) const {
  const Problem& p = problem_;
#pragma omp parallel for collapse(2) num_threads(threads_)
  for (int64_t depth = 0; depth < p.kernel_depth; ++depth)
    for (int64_t channel = 0; channel < p.channels; ++channel)
      for (int64_t group = 0; group < groups(); ++group) {
        const int64_t start = GroupStart(group), columns = GroupSize(group), rows = p.kernel_depth * p.channels;
        for (int64_t panel = 0; panel < columns; panel += kernels_->panel) {
          const int64_t width = std::min(kernels_->panel, columns - panel);
          kernels_->weights(weights + (depth * 9 * p.channels + channel) * p.out_channels + start + panel,
                            p.channels * p.out_channels, width,
                            packed + rows * (p.points() * start + panel) + (depth * p.channels + channel) * width,
                            rows * columns);
        }
      }
}

void Plan::RunApart(const Arrays& arrays, float* scratch, const float** pixels) const {
  const int64_t blocks = BlockCount();
#pragma omp parallel for schedule(dynamic) num_threads(threads_)
  for (int64_t index = 0; index < blocks; ++index) {
    Block block = BlockAt(index);
    block.v = scratch + omp_get_thread_num() * (VSize() + MSize());
    block.m = block.v + VSize();
    for (int64_t slice = 0; slice < block.slices; ++slice)
      for (int64_t tile = 0; tile < block.tiles; ++tile) Input(arrays, block, slice, tile);
    for (int64_t group = 0; group < groups(); ++group) {
      for (int64_t point = 0; point < problem_.points(); ++point) Multiply(arrays, block, block.m, group, point);
      for (int64_t depth = 0; depth < block.depths; ++depth)
        for (int64_t tile = 0; tile < block.tiles; ++tile)
          Output(arrays, block, block.m, group, depth, tile, pixels + omp_get_thread_num() * Pixels());
    }
  }
}

void Plan::RunTogether(const Arrays& arrays, float* scratch, const float** pixels) const {
  for (int64_t index = 0; index < BlockCount(); ++index) {
    Block block = BlockAt(index);
    block.v = scratch;
    block.m = scratch + VSize();
    const int64_t rows = block.depths * block.tiles;
#pragma omp parallel num_threads(threads_)
    {
#pragma omp for schedule(dynamic, 4) collapse(2)
      for (int64_t slice = 0; slice < block.slices; ++slice)
        for (int64_t tile = 0; tile < block.tiles; ++tile) Input(arrays, block, slice, tile);
#pragma omp for schedule(dynamic) collapse(2)
      for (int64_t group = 0; group < groups(); ++group)
        for (int64_t point = 0; point < problem_.points(); ++point)
          Multiply(arrays, block, block.m + MStart(rows, group), group, point);
#pragma omp for schedule(dynamic, 8) collapse(3)
      for (int64_t group = 0; group < groups(); ++group)
        for (int64_t depth = 0; depth < block.depths; ++depth)
          for (int64_t tile = 0; tile < block.tiles; ++tile)
            Output(arrays, block, block.m + MStart(rows, group), group, depth, tile,
                   pixels + omp_get_thread_num() * Pixels());
    }
  }
}

}  // namespace collage::winograd
