// The loops over numbers, compiled once per instruction set; everything else is in plan.cc.
//
// Words: a *vector* is as many neighbouring channels as a register holds, and a *block* is kBlock of them, whatever the
// instruction set. Source rows are copied so that results next to each other read pixels next to each other: a *phase*
// has every stride-th pixel. Channels are copied a vector at a time: *chunks*. A *run* is some taps in a row of the
// kernel that read neighbouring pixels of a phase.
#pragma once

#include <cstdint>

#include "../offers.h"

namespace collage::grouped {

constexpr int64_t kBlock = 16;   // channels
constexpr int64_t kLongest = 3;  // taps of a run: their weights stay in registers

// At least `low`, at most `high`. NaN stays NaN. After that the result is 0 where `gate`, if there is one, is not
// positive.
struct Tail {
  float low, high;
  bool has_low, has_high;  // else those change nothing
};

// A row of results, in one vector of channels. Distances are in elements.
struct Row {
  const float* const* runs;  // where the first result reads the first chunk, the longest runs first
  int64_t counts[kLongest];  // of the runs with 3, 2 and 1 taps
  const float* weights;      // [run][channel of the group][tap][kBlock]
  int64_t group;             // channels in it
  int64_t start;             // from the first chunk to that of the group
  int64_t chunks, chunk_step;
  int64_t width, lanes;      // results, and channels that there are
  int64_t pixel, add_pixel;  // from one result to the next, from one summand to the next
  const Tail* tail;
  const float *bias, *add, *gate;  // null if there is none; the last two lie alike
  float* result;
};

// Some pixels of a phase, a block of channels at most.
struct Copying {
  const float* from;
  int64_t pixels, step, channels;  // those of a vector from `channels` on become zero
  int64_t next;                    // from a pixel to what is brought near meanwhile
  bool relu;
  float* to;
  int64_t chunk;  // from one vector of channels to the next
};

struct Kernels {
  int64_t lanes;  // of a vector
  void (*convolve)(const Row& row);
  void (*copy)(const Copying& copying);
};

// Null if the processor lacks what they are compiled for.
const Kernels* Avx512Kernels();
const Kernels* Avx2Kernels();

inline constexpr Offer<Kernels> kOffers[] = {{"avx512", Avx512Kernels}, {"avx2", Avx2Kernels}};  // the best first

}  // namespace collage::grouped
