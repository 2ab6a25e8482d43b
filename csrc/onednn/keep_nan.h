// NaN where JAX has it. The library's maxima drop NaN, in pooling and inside its softmax; a look at the source tells
// where that went wrong, and then the result is put right.
#pragma once

#include <cstdint>
#include <dnnl.hpp>

namespace collage::onednn {

struct KeepNan {
  enum Kind { kNowhere, kRows, kWindows } kind = kNowhere;
  dnnl::memory::desc src, dst;
  int64_t rows = 0, columns = 0;                      // of rows
  dnnl::memory::dims kernel, strides, dilates, pads;  // of windows
};

// Softmax over `axis`, whose elements must lie next to each other: a row is NaN throughout if one of it is NaN or
// positive infinity, or all are negative infinity. Throws SpecError for other layouts.
KeepNan KeepNanInRows(const dnnl::memory::desc& src, const dnnl::memory::desc& dst, int axis);

// Maximum pooling: NaN if an element in the window is, and negative infinity if all are, of which the library makes the
// lowest finite number.
KeepNan KeepNanInWindows(const dnnl::memory::desc& src, const dnnl::memory::desc& dst, dnnl::memory::dims kernel,
                         dnnl::memory::dims strides, dnnl::memory::dims dilates, dnnl::memory::dims pads);

void RunKeepNan(const KeepNan& keep, const void* src, void* dst);

}  // namespace collage::onednn
