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

// Tells the library how many threads its primitives will get, where the library cannot know. Call before making any.
void PrepareThisThread();

}  // namespace collage::onednn
