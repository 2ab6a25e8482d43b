#include "plan.h"

#include <omp.h>

#include <algorithm>

namespace collage::rows {
namespace {

constexpr double kWorthThread = 1 << 15;  // elements; with fewer, waking another thread takes longer

struct Offer {
  std::string_view isa;
  const Kernels* (*kernels)();
};

constexpr Offer kOffers[] = {{"avx512", Avx512Kernels}, {"avx2", Avx2Kernels}};  // the best first

const Kernels* Choose(const Problem& problem) {
  for (const Offer& offer : kOffers)
    if (problem.isa.empty() || problem.isa == offer.isa)
      if (const Kernels* kernels = offer.kernels()) return kernels;
  throw SpecError("there are no kernels for " + (problem.isa.empty() ? "this processor" : "isa=" + problem.isa));
}

}  // namespace

int Threads() { return omp_get_max_threads(); }

std::string InstructionSet() {
  for (const Offer& offer : kOffers)
    if (offer.kernels() != nullptr) return std::string(offer.isa);
  return "";
}

Plan::Plan(std::string_view spec) : problem_(ParseProblem(spec)), kernels_(Choose(problem_)) {
  const double wanted = std::min(static_cast<double>(problem_.size()) / kWorthThread, static_cast<double>(problem_.rows));
  threads_ = static_cast<int>(std::clamp<double>(wanted, 1, Threads()));
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
    const Task task{source + first * p.columns, end - first, p.columns, scale, shift,
                    static_cast<float*>(result) + first * p.columns, p.norm};
    p.softmax ? kernels_->softmax(task) : kernels_->normalise(task);
  };
  if (threads_ == 1) return run(0);
#pragma omp parallel for schedule(static) num_threads(threads_)
  for (int part = 0; part < threads_; ++part) run(part);
}

}  // namespace collage::rows
