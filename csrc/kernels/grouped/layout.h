// In which order the taps of a kernel are taken, and where a row of results finds the pixels for them.
#pragma once

#include <vector>

#include "problem.h"

namespace collage::grouped {

// Every stride-th pixel of the padded source, from one on.
struct Phase {
  int64_t column;        // of the source, of the first pixel
  int64_t first, end;    // the pixels that the source has; the others are zero
  int64_t start;         // where it lies in the copy of a row, in pixels
};

// Taps of one row of the kernel, which read neighbouring pixels of a phase.
struct TapRun {
  int64_t row, column, step, taps;  // of the kernel: the first, and from one to the next
  int64_t start;                    // where the first result reads in the copy of a row, in pixels
};

struct Layout {
  explicit Layout(const Problem& problem);

  std::vector<Phase> phases;
  std::vector<TapRun> runs;      // the longest first
  int64_t counts[kLongest]{};  // of the runs with 3, 2 and 1 taps
  int64_t pixels = 0;         // in the copy of a row
};

}  // namespace collage::grouped
