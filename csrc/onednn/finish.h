// What is done to a result after the library's primitive: bounds that keep NaN, and a GELU that
// keeps infinity.
//
// The library clips with the processor's maximum and minimum, which drop NaN; JAX keeps it. A pass over the result, still
// in cache, costs less than the library's functions that do keep it.
#pragma once

#include <dnnl.hpp>

#include "spec.h"

namespace collage::onednn {

struct Finish {
  enum Kind { kNone, kClip, kGelu, kGate } kind = kNone;
  float low = 0, high = 0;  // of kClip
};

// finish=clip:<low>:<high>, bounds may be infinite; or, of f32 only, finish=gelu, by the error function, or finish=gate:
// one more operand comes last, shaped like the result, which is 0 where that is not positive.
Finish ReadFinish(Spec& spec, const dnnl::memory::desc& result);

// On each of the `bytes` of float32 or bfloat16 at `data`.
void RunFinish(const Finish& finish, dnnl::memory::data_type type, void* data, size_t bytes, const void* gate);

}  // namespace collage::onednn
