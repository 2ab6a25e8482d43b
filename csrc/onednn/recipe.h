// A spec understood: which primitive, and how its tensors reach it. No code is generated yet, so this is cheap.
#pragma once

#include <dnnl.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "finish.h"
#include "keep_nan.h"
#include "spec.h"

namespace collage::onednn {

// `given` is what the caller's buffer holds, `wanted` what the primitive reads or writes; where they differ the plan
// reorders through scratch memory.
struct Tensor {
  int arg;  // DNNL_ARG_*
  dnnl::memory::desc given, wanted;
  bool packed = false;  // the caller holds bytes in a layout that only the library knows
};

// The same tensor in whatever layout the library likes best.
inline dnnl::memory::desc Any(const dnnl::memory::desc& desc) {
  return {desc.get_dims(), desc.get_data_type(), dnnl::memory::format_tag::any};
}

inline Tensor AsGiven(int arg, dnnl::memory::desc desc) { return {arg, desc, desc}; }

struct Recipe {
  dnnl::primitive_desc_base primitive;
  std::vector<Tensor> operands;  // in the order of the call
  Tensor result;

  // Of an operation with weights: what the primitive reads, and what the caller has unpacked.
  std::optional<dnnl::memory::desc> weights = {}, plain_weights = {};

  int threads = 0;  // at most; 0: all there are

  bool has_sum = false;  // one more operand comes last, shaped like the result, and is added to it
  KeepNan keep_nan = {};
  Finish finish = {};
  std::string op = {};
};

const dnnl::engine& CpuEngine();

// Throws SpecError for a spec that makes no sense, dnnl::error for one that the library cannot do.
Recipe MakeRecipe(std::string_view spec);

// One family each; `MakeRecipe` chooses.
Recipe MakeContraction(Spec& spec);
Recipe MakePacking(Spec& spec);
Recipe MakeWeightsGradient(Spec& spec);
Recipe MakePooling(Spec& spec);
Recipe MakeResampling(Spec& spec);
Recipe MakeSoftmax(Spec& spec);
Recipe MakeLayerNorm(Spec& spec);
Recipe MakeBatchNorm(Spec& spec);
Recipe MakeConcat(Spec& spec);
Recipe MakeReduction(Spec& spec);
Recipe MakeEltwise(Spec& spec);
Recipe MakeBinary(Spec& spec);
Recipe MakeReorder(Spec& spec);

}  // namespace collage::onednn
