// Marks on a program's stream, and the time that a GPU takes from one to the other.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string_view>

#include "driver.h"

namespace collage::cuda {

// Two events of one device, used again and again by programs that run one after the other.
class Timer {
 public:
  enum Which { kBegin, kEnd };

  // `context` is the stream's, and current; the first call makes the events. An end needs a begin before it: one that
  // XLA put first would give the time of something else. Throws.
  void Record(const Driver& driver, Which which, Stream stream, Context context);

  // Waits for the end. What was measured is measured once: asked again, or after an error, this throws.
  double ElapsedUs(const Driver& driver);

 private:
  std::mutex mutex_;
  Context context_ = nullptr;
  std::array<Event, 2> events_ = {};  // never destroyed: the driver may be gone before this is
  std::array<bool, 2> recorded_ = {};
};

// The timer of this process with that number; what this refers to stays.
Timer& TimerOf(int64_t number);

class Mark {
 public:
  // `which` is flush, begin or end. Throws std::invalid_argument with rule and value.
  Mark(int64_t number, std::string_view which);

  // A flush writes over `bytes` bytes at `result`, which takes what lies in the GPU's cache out of it. A begin and an
  // end write nothing.
  void Put(const Driver& driver, Stream stream, void* result, size_t bytes) const;

 private:
  Timer& timer_;
  const bool is_flush_;
  const Timer::Which which_;
};

}  // namespace collage::cuda
