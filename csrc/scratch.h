// Scratch memory of the calling thread. XLA's CPU runtime has no scratch allocator for FFI calls.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace collage {

constexpr size_t kScratchAlignment = 64;  // a cache line, and the widest vector

constexpr size_t AlignUp(size_t bytes) {
  return (bytes + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
}

#ifdef __SANITIZE_ADDRESS__
constexpr bool kExactScratch = true;  // so that what goes beyond its end is seen
#else
constexpr bool kExactScratch = false;
#endif

// Valid until the same thread's next call. It only grows: a thread meets the same few sizes again and again.
inline std::byte* ThreadScratch(size_t bytes) {
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  thread_local std::unique_ptr<std::byte, Free> memory;
  thread_local size_t capacity = 0;
  if (bytes > capacity || (kExactScratch && AlignUp(bytes) != capacity)) {
    memory.reset();  // before the new block exists, so that both never count at once
    capacity = 0;
    memory.reset(static_cast<std::byte*>(std::aligned_alloc(kScratchAlignment, AlignUp(bytes))));
    if (!memory) throw std::bad_alloc();
    capacity = AlignUp(bytes);
  }
  return memory.get();
}

}  // namespace collage
