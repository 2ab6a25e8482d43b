#include "plan.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <limits>

#include "../offers.h"

// One version of a loop for each instruction set, chosen when the library is loaded, where the loader can.
#if defined(__GLIBC__) && defined(__x86_64__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

namespace collage::pools {
namespace {

constexpr int64_t kPart = 64;  // of the innermost numbers, so that what a window chose stays near

struct Chosen {
  float best[kPart];
  int32_t tap[kPart];
};

// Not `value > best`: XLA keeps the one it has only if it is at least as large, so that a NaN is left again.
FOR_EACH_PROCESSOR void TakeLarger(Chosen* chosen, const float* value, int32_t tap, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const bool keep = chosen->best[i] >= value[i];
    chosen->best[i] = keep ? chosen->best[i] : value[i];
    chosen->tap[i] = keep ? chosen->tap[i] : tap;
  }
}

FOR_EACH_PROCESSOR void TakeSmaller(Chosen* chosen, const float* value, int32_t tap, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const bool keep = chosen->best[i] <= value[i];
    chosen->best[i] = keep ? chosen->best[i] : value[i];
    chosen->tap[i] = keep ? chosen->tap[i] : tap;
  }
}

FOR_EACH_PROCESSOR void GiveToChosen(const Chosen* chosen, const float* gradient, float* result, int32_t tap, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float more = result[i] + gradient[i];
    result[i] = chosen->tap[i] == tap ? more : result[i];
  }
}

FOR_EACH_PROCESSOR void GiveToAll(const float* gradient, float* result, int64_t count) {
  for (int64_t i = 0; i < count; ++i) result[i] += gradient[i];
}

// The taps of one dimension that lie inside, of a window that begins at `start`.
struct Taps {
  Taps(int64_t start, int64_t window, int64_t size)
      : first(std::max<int64_t>(0, -start)), end(std::min(window, size - start)) {}
  bool Hold(int64_t tap) const { return first <= tap && tap < end; }
  int64_t first, end;
};

// Padding takes part, as JAX pads: a window may choose it, and its gradient is lost.
constexpr int32_t kPadding = -1;

std::array<float, kPart> Filled(float value) {
  std::array<float, kPart> filled;
  filled.fill(value);
  return filled;
}

}  // namespace

Plan::Plan(std::string_view spec) : problem_(ParseProblem(spec)) {
  const Problem& p = problem_;
  parts_ = (p.inner + kPart - 1) / kPart;
  const double elements = static_cast<double>(p.outer) * p.places() * p.inner;
  threads_ = ThreadsToMove(elements, static_cast<double>(p.outer * parts_));
}

std::vector<size_t> Plan::OperandBytes() const {
  const Problem& p = problem_;
  std::vector<size_t> bytes{p.outer * p.windows() * p.inner * sizeof(float)};
  if (p.op != Problem::Op::kSum) bytes.push_back(ResultBytes());
  return bytes;
}

size_t Plan::ResultBytes() const {
  return problem_.outer * problem_.places() * problem_.inner * sizeof(float);
}

void Plan::Run(const void* const* operands, void* result) const {
  const Problem& p = problem_;
  const auto* gradient = static_cast<const float*>(operands[0]);
  const auto* source = p.op == Problem::Op::kSum ? nullptr : static_cast<const float*>(operands[1]);
  auto run = [&](int64_t item) {
    const int64_t outer = item / parts_, at = item % parts_ * kPart;
    const int64_t place = outer * p.places() * p.inner + at;
    RunPart(gradient + outer * p.windows() * p.inner + at, source == nullptr ? nullptr : source + place,
            static_cast<float*>(result) + place, std::min(kPart, p.inner - at));
  };
  const int64_t items = p.outer * parts_;
  if (threads_ == 1) {
    for (int64_t item = 0; item < items; ++item) run(item);
    return;
  }
#pragma omp parallel for schedule(static) num_threads(threads_)
  for (int64_t item = 0; item < items; ++item) run(item);
}

void Plan::RunPart(const float* gradient, const float* source, float* result, int64_t count) const {
  const Problem& p = problem_;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::array<float, kPart> padding = Filled(p.op == Problem::Op::kMin ? kInfinity : -kInfinity);
  for (int64_t place = 0; place < p.places(); ++place) std::fill_n(result + place * p.inner, count, 0.f);
  for (int64_t a = 0; a < p.result[0]; ++a)
    for (int64_t b = 0; b < p.result[1]; ++b)
      for (int64_t c = 0; c < p.result[2]; ++c, gradient += p.inner) {
        const Sizes start{a * p.strides[0] - p.low[0], b * p.strides[1] - p.low[1], c * p.strides[2] - p.low[2]};
        const Taps outer(start[0], p.window[0], p.size[0]), middle(start[1], p.window[1], p.size[1]),
            inner(start[2], p.window[2], p.size[2]);
        auto at = [&](int64_t i, int64_t j, int64_t k) {
          return (((start[0] + i) * p.size[1] + start[1] + j) * p.size[2] + start[2] + k) * p.inner;
        };
        auto number = [&](int64_t i, int64_t j, int64_t k) {
          return static_cast<int32_t>((i * p.window[1] + j) * p.window[2] + k);
        };
        auto for_each_tap = [&](auto&& function) {
          for (int64_t i = outer.first; i < outer.end; ++i)
            for (int64_t j = middle.first; j < middle.end; ++j)
              for (int64_t k = inner.first; k < inner.end; ++k) function(at(i, j, k), number(i, j, k));
        };
        if (p.op == Problem::Op::kSum) {
          for_each_tap([&](int64_t place, int32_t) { GiveToAll(gradient, result + place, count); });
          continue;
        }
        Chosen chosen;
        bool any = false;
        for (int64_t i = 0; i < p.window[0]; ++i)
          for (int64_t j = 0; j < p.window[1]; ++j)
            for (int64_t k = 0; k < p.window[2]; ++k) {
              const bool inside = outer.Hold(i) && middle.Hold(j) && inner.Hold(k);
              const float* value = inside ? source + at(i, j, k) : padding.data();
              const int32_t tap = inside ? number(i, j, k) : kPadding;
              if (!any) {
                std::copy_n(value, count, chosen.best);
                std::fill_n(chosen.tap, count, tap);
                any = true;
              } else if (p.op == Problem::Op::kMax) {
                TakeLarger(&chosen, value, tap, count);
              } else {
                TakeSmaller(&chosen, value, tap, count);
              }
            }
        for_each_tap([&](int64_t place, int32_t tap) { GiveToChosen(&chosen, gradient, result + place, tap, count); });
      }
}

}  // namespace collage::pools
