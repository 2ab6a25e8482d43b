#include "plan.h"

#include <omp.h>

#include <algorithm>
#include <limits>

#include "../../scratch.h"
#include "../sgemm/panels.h"

namespace collage::attention {
namespace {

using sgemm::kMostPanel;
using sgemm::kVector;

constexpr double kWorthThread = 5e4;  // multiplications; with fewer, waking another thread takes longer
constexpr int64_t kMostRows = 64;     // of a task: their scores and a head's keys share a core's own cache

int64_t RoundUp(int64_t number, int64_t step) { return (number + step - 1) / step * step; }

}  // namespace

Plan::Plan(std::string_view spec)
    : problem_(ParseProblem(spec)),
      products_(Choose(sgemm::kOffers, problem_.isa)),
      rows_(Choose(rows::kOffers, problem_.isa)) {
  const Problem& p = problem_;
  const int64_t heads = p.heads[0] * p.heads[1];
  const double work = static_cast<double>(heads * p.queries) * static_cast<double>(p.keys * (p.depth + p.width));
  threads_ = static_cast<int>(std::clamp<double>(work / kWorthThread, 1, Threads()));
  const int64_t wanted = std::max((p.queries + kMostRows - 1) / kMostRows, (threads_ + heads - 1) / heads);
  blocks_ = std::min(wanted, p.queries);
  threads_ = static_cast<int>(std::min<int64_t>(threads_, heads * blocks_));
  const int64_t rows = (p.queries + blocks_ - 1) / blocks_;
  score_row_ = RoundUp(p.keys, kVector) + kVector;  // never at a distance at which rows share lines of the cache
  keys_size_ = sgemm::PackedSize(p.depth, p.keys);
  values_size_ = sgemm::PackedSize(p.keys, p.width);
  scores_size_ = rows * score_row_;
  partial_size_ = rows * kMostPanel;
}

std::vector<size_t> Plan::OperandBytes() const {
  const Problem& p = problem_;
  std::vector<size_t> bytes;
  for (int i = 0; i < 3; ++i) bytes.push_back(p.elements[i] * sizeof(float));
  if (p.masking != Masking::kNone) bytes.push_back(p.mask_elements * sizeof(float));
  return bytes;
}

size_t Plan::ResultBytes() const { return problem_.elements[3] * sizeof(float); }

void Plan::Run(const void* const* operands, void* result) const {
  auto at = [&](int i) { return static_cast<const float*>(operands[i]); };
  const bool masked = problem_.masking != Masking::kNone;
  const Arrays arrays{at(0), at(1), at(2), masked ? at(3) : nullptr, static_cast<float*>(result)};
  const int64_t tasks = problem_.heads[0] * problem_.heads[1] * blocks_;
  const int64_t each = keys_size_ + values_size_ + scores_size_ + partial_size_;
  auto* memory = reinterpret_cast<float*>(ThreadScratch(each * threads_ * sizeof(float)));
  if (threads_ == 1) return RunTasks(arrays, 0, tasks, memory);
#pragma omp parallel for schedule(static) num_threads(threads_)
  for (int thread = 0; thread < threads_; ++thread)
    RunTasks(arrays, tasks * thread / threads_, tasks * (thread + 1) / threads_, memory + thread * each);
}

void Plan::RunTasks(const Arrays& arrays, int64_t task, int64_t end, float* memory) const {
  const Problem& p = problem_;
  Scratch scratch{};
  scratch.keys = memory;
  scratch.values = scratch.keys + keys_size_;
  scratch.scores = scratch.values + values_size_;
  scratch.partial = scratch.scores + scores_size_;
  for (int64_t packed = -1; task < end; ++task) {
    const int64_t head = task / blocks_, block = task % blocks_;
    if (head != packed) {
      const int64_t outer = head / p.heads[1], inner = head % p.heads[1];
      sgemm::PackMatrix(*products_, arrays.k + outer * p.k[0] + inner * p.k[1], p.k[3], p.k[2], p.depth, p.keys,
                        scratch.keys);
      sgemm::PackMatrix(*products_, arrays.v + outer * p.v[0] + inner * p.v[1], p.v[2], p.v[3], p.keys, p.width,
                        scratch.values);
      packed = head;
    }
    const int64_t row = p.queries * block / blocks_;
    RunTask(arrays, head, row, p.queries * (block + 1) / blocks_ - row, scratch);
  }
}

void Plan::RunTask(const Arrays& arrays, int64_t head, int64_t row, int64_t rows, const Scratch& scratch) const {
  const Problem& p = problem_;
  const int64_t outer = head / p.heads[1], inner = head % p.heads[1];
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const sgemm::Tail scaled{p.scale, -kInfinity, -kInfinity, kInfinity, p.scale != 1, false, false, false};
  const sgemm::Tail plain{1, -kInfinity, -kInfinity, kInfinity, false, false, false, false};

  sgemm::Task task{};
  task.rows = rows;
  task.partial = scratch.partial;
  task.a = arrays.q + outer * p.q[0] + inner * p.q[1] + row * p.q[2];
  task.a_row = p.q[2];
  task.tail = &scaled;
  task.result = scratch.scores;
  task.result_row = score_row_;
  sgemm::MultiplyPanels(*products_, task, p.depth, p.keys, scratch.keys);

  if (arrays.mask != nullptr) {
    const auto& steps = p.mask_steps;
    ApplyMask(scratch.scores, rows, arrays.mask + outer * steps[0] + inner * steps[1] + row * steps[2]);
  }
  rows_->softmax({scratch.scores, rows, p.keys, score_row_, nullptr, nullptr, scratch.scores, {}});

  task.a = scratch.scores;
  task.a_row = score_row_;
  task.tail = &plain;
  task.result = arrays.result + outer * p.result[0] + inner * p.result[1] + row * p.result[2];
  task.result_row = p.result[2];
  sgemm::MultiplyPanels(*products_, task, p.keys, p.width, scratch.values);
}

void Plan::ApplyMask(float* scores, int64_t rows, const float* mask) const {
  const Problem& p = problem_;
  for (int64_t i = 0; i < rows; ++i, scores += score_row_, mask += p.mask_steps[2])
    for (int64_t j = 0; j < p.keys; ++j) {
      const float value = mask[j * p.mask_steps[3]];
      scores[j] = p.masking == Masking::kBias ? scores[j] + value : value != 0 ? scores[j] : p.fill;
    }
}

}  // namespace collage::attention
