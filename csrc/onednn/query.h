// What the library would do with a spec, without generating code.
#pragma once

#include <cstddef>
#include <string>

namespace collage::onednn {

struct Answer {
  std::string error;  // empty: the library can do it, and the rest is filled in
  std::string impl;   // the library's name of its implementation
  size_t packed_bytes = 0;
  bool weights_plain = false;
  size_t scratchpad_bytes = 0;
};

// Remembers its answers, refusals too: the library tries implementations one by one, which takes a while.
Answer Query(const std::string& spec);

}  // namespace collage::onednn
