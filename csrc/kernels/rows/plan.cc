#include "plan.h"

#include <omp.h>

#include <algorithm>

#include "../../scratch.h"

namespace collage::rows {
namespace {

// Those of `task` from `first` to before `end`.
Task Rows(const Task& task, int64_t first, int64_t end) {
  Task some = task;
  some.rows = end - first;
  some.source += first * task.row, some.result += first * task.row;
  if (task.cotangent != nullptr) some.cotangent += first * task.row;
  if (task.added != nullptr) some.added += first * task.row;
  return some;
}

}  // namespace

Plan::Plan(std::string_view spec) : problem_(ParseProblem(spec)), kernels_(Choose(kOffers, problem_.isa)) {
  threads_ = ThreadsToMove(static_cast<double>(problem_.size()), static_cast<double>(problem_.rows));
}

std::vector<size_t> Plan::OperandBytes() const {
  const Problem& p = problem_;
  std::vector<size_t> bytes{p.size() * sizeof(float)};
  for (bool there : {p.scale, p.shift})
    if (there) bytes.push_back(p.columns * sizeof(float));
  for (bool there : {p.is_gradient(), p.added})
    if (there) bytes.push_back(p.size() * sizeof(float));
  return bytes;
}

void (*Plan::Kernel() const)(const Task& task) {
  switch (problem_.op) {
    case Op::kNorm: return kernels_->normalise;
    case Op::kSoftmax: return kernels_->softmax;
    case Op::kNormGradient: return kernels_->norm_gradient;
    case Op::kScaleGradient: return kernels_->scale_gradient;
    case Op::kSoftmaxGradient: return kernels_->softmax_gradient;
  }
  throw SpecError("no such operation");
}

void Plan::Run(const void* const* operands, void* result) const {
  const Problem& p = problem_;
  auto next = [&] { return static_cast<const float*>(*operands++); };
  const float* source = next();
  const float* scale = p.scale ? next() : nullptr;
  const float* shift = p.shift ? next() : nullptr;
  const float* cotangent = p.is_gradient() ? next() : nullptr;
  const float* added = p.added ? next() : nullptr;
  const Task all{source, p.rows,    p.columns, p.columns, scale, shift, static_cast<float*>(result),
                 p.norm, cotangent, added,     p.factor};
  if (p.op == Op::kScaleGradient) return RunSummed(all);
  const auto kernel = Kernel();
  auto run = [&](int part) { kernel(Rows(all, p.rows * part / threads_, p.rows * (part + 1) / threads_)); };
  if (threads_ == 1) return run(0);
#pragma omp parallel for schedule(static) num_threads(threads_)
  for (int part = 0; part < threads_; ++part) run(part);
}

// Sums of so many rows are added up one by one, and then those: of many rows, few digits are lost.
constexpr int64_t kSummedRows = 64;

void Plan::RunSummed(const Task& all) const {
  const int64_t columns = all.columns;
  const size_t row = AlignUp(columns * sizeof(float)) / sizeof(float);
  // Each thread has a sum of its own, and one of a few rows.
  float* const sums = reinterpret_cast<float*>(ThreadScratch(2 * threads_ * row * sizeof(float)));
  auto run = [&](int part) {
    float *sum = sums + 2 * part * row, *few = sum + row;
    std::fill_n(sum, columns, 0.f);
    const int64_t end = all.rows * (part + 1) / threads_;
    for (int64_t first = all.rows * part / threads_; first < end; first += kSummedRows) {
      Task task = Rows(all, first, std::min(first + kSummedRows, end));
      task.result = few;
      kernels_->scale_gradient(task);
      for (int64_t i = 0; i < columns; ++i) sum[i] += few[i];
    }
  };
  if (threads_ == 1) {
    run(0);
  } else {
#pragma omp parallel for schedule(static) num_threads(threads_)
    for (int part = 0; part < threads_; ++part) run(part);
  }
  std::copy_n(sums, columns, all.result);
  for (int part = 1; part < threads_; ++part)
    for (int64_t i = 0; i < columns; ++i) all.result[i] += sums[2 * part * row + i];
}

}  // namespace collage::rows
