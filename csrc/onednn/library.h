// The loaded library: its version and its threads.
#pragma once

#include <dnnl.hpp>
#include <string>

namespace collage::onednn {

// Empty, or why this extension must not use the library that the process has loaded.
std::string Mismatch();

// How many threads a primitive uses.
int Threads();

// For example 3.2.0-2f8b6c1d/avx512_core_bf16/2t. The layout of packed weights depends on all of it.
const std::string& LibraryVersion();

// For example "oneDNN 3.2.0-2f8b6c1d/avx512_core_bf16/2t cannot do op=conv: unimplemented: could not create ...".
std::string Explain(const std::string& op, const dnnl::error& error);

// While one exists, primitives that this thread makes or runs use exactly so many threads, or all if there are fewer.
// 0: all.
// A small primitive is faster on one thread than it takes to wake the others.
class ThreadLimit {
 public:
  explicit ThreadLimit(int threads);
  ~ThreadLimit();
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;

 private:
  int before_, dynamic_before_ = 0;
};

}  // namespace collage::onednn
