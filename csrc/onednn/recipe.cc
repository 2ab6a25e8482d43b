#include "recipe.h"

#include <utility>

#include "library.h"

namespace collage::onednn {
namespace {

using Maker = Recipe (*)(Spec&);

constexpr std::pair<std::string_view, Maker> kMakers[] = {
    {"conv", MakeContraction},      {"deconv", MakeContraction},    {"matmul", MakeContraction},
    {"pack.conv", MakePacking},     {"pack.deconv", MakePacking},   {"pack.matmul", MakePacking},
    {"conv_weights", MakeWeightsGradient},
    {"pool", MakePooling},          {"resample", MakeResampling},   {"softmax", MakeSoftmax},
    {"layernorm", MakeLayerNorm},   {"batchnorm", MakeBatchNorm},   {"concat", MakeConcat},
    {"reduce", MakeReduction},      {"eltwise", MakeEltwise},       {"binary", MakeBinary},
    {"reorder", MakeReorder},
};

}  // namespace

const dnnl::engine& CpuEngine() {
  // Never destroyed: a thread of XLA's pool may still run when the process exits.
  static const auto* engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

Recipe MakeRecipe(std::string_view text) {
  Spec spec(text);
  for (const auto& [op, make] : kMakers) {
    if (spec.op() != op) continue;
    const int threads = spec.Threads();
    const ThreadLimit limit(threads);
    Recipe recipe = make(spec);
    // A packing call carries its consumer's whole spec; the finish is the consumer's.
    if (make == MakePacking) {
      spec.TextOr("finish", "");
    } else {
      recipe.finish = ReadFinish(spec, recipe.result.given);
    }
    spec.RequireAllRead();
    recipe.threads = threads;
    recipe.op = spec.op();
    return recipe;
  }
  throw SpecError("bad token `op=" + spec.op() + "`: no such operation");
}

}  // namespace collage::onednn
