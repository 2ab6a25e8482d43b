#include "plan.h"

#include <omp.h>

#include <algorithm>

#include "../../scratch.h"

namespace collage::elementwise {

Plan::Plan(std::string_view spec) : problem_(ParseProblem(spec)), kernels_(Choose(kOffers, problem_.isa)) {
  const int64_t columns = problem_.sizes.back();
  rows_ = problem_.elements() / problem_.shape.back();
  by_columns_ = rows_ < 2 * Threads();
  const int64_t items = by_columns_ ? (columns + kBlock - 1) / kBlock : rows_;
  threads_ = ThreadsToMove(static_cast<double>(problem_.elements()), static_cast<double>(items));
}

std::vector<size_t> Plan::OperandBytes() const {
  std::vector<size_t> bytes;
  for (const Read& read : problem_.reads) bytes.push_back(read.elements * sizeof(float));
  return bytes;
}

void Plan::Run(const void* const* operands, void* result) const {
  const auto* const from = reinterpret_cast<const float* const*>(operands);
  auto* const to = static_cast<float*>(result);
  const int64_t columns = problem_.sizes.back(), block = problem_.code.size() * kBlock;
  auto* const scratch = reinterpret_cast<float*>(ThreadScratch(threads_ * block * sizeof(float)));
  auto run = [&](int thread) {
    const auto share = [&](int64_t count, int which) { return count * which / threads_; };
    Part part{0, rows_, 0, columns, scratch + thread * block};
    if (by_columns_)
      part.first = share(columns, thread), part.end = share(columns, thread + 1);
    else
      part.first_row = share(rows_, thread), part.end_row = share(rows_, thread + 1);
    RunPart(part, from, to);
  };
  if (threads_ == 1) return run(0);
#pragma omp parallel for schedule(static) num_threads(threads_)
  for (int thread = 0; thread < threads_; ++thread) run(thread);
}

void Plan::RunPart(const Part& part, const float* const* operands, float* result) const {
  const Problem& p = problem_;
  for (size_t i = 0; i < p.code.size(); ++i)
    if (p.code[i].op == Op::kNumber) std::fill_n(part.scratch + i * kBlock, kBlock, p.code[i].number);
  const int64_t columns = p.sizes.back(), width = p.shape.back(), low = p.low.back(), gap = p.gap.back();
  // Who has the first and the last of a row fills what is before and after them.
  const int64_t before = part.first == 0 ? 0 : low + part.first * gap;
  const int64_t after = part.end == columns ? width : low + part.end * gap;
  int64_t starts[kMostReads];
  for (int64_t row = part.first_row; row < part.end_row; ++row) {
    float* const to = result + row * width;
    if (!Find(row, starts)) {
      std::fill(to + before, to + after, p.fill);
      continue;
    }
    if (gap > 1) {
      std::fill(to + before, to + after, p.fill);
    } else if (columns < width) {
      if (part.first == 0) std::fill(to, to + low, p.fill);
      if (part.end == columns) std::fill(to + low + columns, to + width, p.fill);
    }
    RunRow(part, starts, operands, to);
  }
}

// Where each operand begins for that row of the result; false if nothing is computed there.
bool Plan::Find(int64_t row, int64_t* starts) const {
  const Problem& p = problem_;
  for (size_t i = 0; i < p.reads.size(); ++i) starts[i] = p.reads[i].offset;
  for (size_t dim = p.shape.size() - 1; dim-- > 0;) {
    const int64_t at = row % p.shape[dim] - p.low[dim];
    row /= p.shape[dim];
    if (at < 0 || at % p.gap[dim] != 0 || at / p.gap[dim] >= p.sizes[dim]) return false;
    for (size_t i = 0; i < p.reads.size(); ++i) starts[i] += at / p.gap[dim] * p.reads[i].strides[dim];
  }
  return true;
}

void Plan::RunRow(const Part& part, const int64_t* starts, const float* const* operands, float* row) const {
  const Problem& p = problem_;
  const int64_t gap = p.gap.back();
  const float* values[kMostInstructions];
  for (int64_t first = part.first; first < part.end; first += kBlock) {
    const int64_t count = std::min(kBlock, part.end - first);
    float* const to = row + p.low.back() + first * gap;
    for (size_t i = 0; i < p.code.size(); ++i) {
      const Instruction& next = p.code[i];
      const bool is_last = i + 1 == p.code.size();
      float* const own = is_last && gap == 1 ? to : part.scratch + i * kBlock;
      values[i] = own;
      if (next.op == Op::kRead) {
        const int64_t stride = p.reads[next.a].strides.back();
        const float* const from = operands[next.a] + starts[next.a] + first * stride;
        if (stride == 1 && !is_last)
          values[i] = from;
        else if (stride == 1)
          std::copy_n(from, count, own);
        else if (stride == 0)
          std::fill_n(own, count, *from);
        else
          for (int64_t k = 0; k < count; ++k) own[k] = from[k * stride];
      } else if (next.op != Op::kNumber) {
        kernels_->apply(next.op, values[next.a], values[next.b], values[next.c], own, count);
      } else if (is_last) {
        std::fill_n(own, count, next.number);
      }
    }
    if (gap > 1)
      for (int64_t k = 0; k < count; ++k) to[k * gap] = values[p.code.size() - 1][k];
  }
}

}  // namespace collage::elementwise
