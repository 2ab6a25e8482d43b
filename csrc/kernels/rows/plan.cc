#include "plan.h"

#include <omp.h>

#include <algorithm>

namespace collage::rows {

Plan::Plan(std::string_view spec) : problem_(ParseProblem(spec)), kernels_(Choose(kOffers, problem_.isa)) {
  threads_ = ThreadsToMove(static_cast<double>(problem_.size()), static_cast<double>(problem_.rows));
}

std::vector<size_t> Plan::OperandBytes() const {
  const Problem& p = problem_;
  std::vector<size_t> bytes{p.size() * sizeof(float)};
  for (bool there : {p.scale, p.shift})
    if (there) bytes.push_back(p.columns * sizeof(float));
  return bytes;
}

void Plan::Run(const void* const* operands, void* result) const {
  const Problem& p = problem_;
  auto next = [&] { return static_cast<const float*>(*operands++); };
  const float* source = next();
  const float* scale = p.scale ? next() : nullptr;
  const float* shift = p.shift ? next() : nullptr;
  auto run = [&](int part) {
    const int64_t first = p.rows * part / threads_, end = p.rows * (part + 1) / threads_;
    const Task task{source + first * p.columns, end - first, p.columns, p.columns, scale, shift,
                    static_cast<float*>(result) + first * p.columns, p.norm};
    p.softmax ? kernels_->softmax(task) : kernels_->normalise(task);
  };
  if (threads_ == 1) return run(0);
#pragma omp parallel for schedule(static) num_threads(threads_)
  for (int part = 0; part < threads_; ++part) run(part);
}

}  // namespace collage::rows
