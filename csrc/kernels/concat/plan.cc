#include "plan.h"

#include <omp.h>

#include <algorithm>
#include <numeric>

#include "../offers.h"

namespace collage::concat {

Plan::Plan(std::string_view spec) : problem_(ParseProblem(spec)) {
  const Problem& p = problem_;
  const auto columns = std::accumulate(p.columns.begin(), p.columns.end(), int64_t{0});
  const double elements = static_cast<double>(columns) * static_cast<double>(p.rows);
  threads_ = ThreadsToMove(elements, static_cast<double>(p.rows));
}

std::vector<size_t> Plan::OperandBytes() const {
  std::vector<size_t> bytes;
  for (int64_t columns : problem_.columns) bytes.push_back(problem_.rows * columns * sizeof(float));
  return bytes;
}

void Plan::Run(const void* const* operands, void* result) const {
  const Problem& p = problem_;
  auto run = [&](int thread) {
    const int64_t first = p.rows * thread / threads_, end = p.rows * (thread + 1) / threads_;
    for (size_t part = 0; part < p.columns.size(); ++part) {
      const int64_t columns = p.columns[part];
      const float* from = static_cast<const float*>(operands[part]) + first * columns;
      float* to = static_cast<float*>(result) + first * p.row + p.offsets[part];
      for (int64_t row = first; row < end; ++row, from += columns, to += p.row) std::copy(from, from + columns, to);
    }
  };
  if (threads_ == 1) return run(0);
#pragma omp parallel for schedule(static) num_threads(threads_)
  for (int thread = 0; thread < threads_; ++thread) run(thread);
}

}  // namespace collage::concat
