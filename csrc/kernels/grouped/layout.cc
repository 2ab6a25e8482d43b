#include "layout.h"

#include <algorithm>
#include <map>

namespace collage::grouped {
namespace {

struct Tap {
  int64_t column, pixel;  // of the kernel; of the phase
};

int64_t CeilDiv(int64_t a, int64_t b) { return a > 0 ? (a + b - 1) / b : 0; }

// Neighbours together, but no more than kLongest, and in parts as equal as can be.
void AddRuns(const std::vector<Tap>& taps, int64_t start, std::vector<TapRun>& runs) {
  for (size_t from = 0, end; from < taps.size(); from = end) {
    for (end = from + 1; end < taps.size() && taps[end].pixel == taps[end - 1].pixel + 1;) ++end;
    const int64_t step = end - from > 1 ? taps[from + 1].column - taps[from].column : 1;
    for (int64_t parts = CeilDiv(end - from, kLongest); parts > 0; --parts) {
      const int64_t length = CeilDiv(end - from, parts);
      runs.push_back({0, taps[from].column, step, length, start + taps[from].pixel});
      from += length;
    }
  }
}

}  // namespace

Layout::Layout(const Problem& p) {
  std::map<int64_t, std::vector<Tap>> by_phase;
  for (int64_t column = 0; column < p.kernel[1]; ++column) {
    const int64_t reads = column * p.dilation[1];
    by_phase[reads % p.strides[1]].push_back({column, reads / p.strides[1]});
  }
  std::vector<TapRun> across;
  for (const auto& [first, taps] : by_phase) {
    const int64_t column = first - p.pads[1], size = p.dst[1] + taps.back().pixel;
    phases.push_back({column, std::min(size, CeilDiv(-column, p.strides[1])),
                      std::min(size, CeilDiv(p.src[1] - column, p.strides[1])), pixels});
    AddRuns(taps, pixels, across);
    pixels += size;
  }
  for (int64_t taps = kLongest; taps > 0; --taps)
    for (int64_t row = 0; row < p.kernel[0]; ++row)
      for (TapRun run : across)
        if (run.taps == taps) {
          run.row = row;
          runs.push_back(run);
          ++counts[kLongest - taps];
        }
}

}  // namespace collage::grouped
