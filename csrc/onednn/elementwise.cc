// Element-wise operations, reductions, concatenation and change of layout.
#include "post_ops.h"
#include "recipe.h"

namespace collage::onednn {
namespace {

dnnl::algorithm ReductionAlgorithm(std::string_view name) {
  using dnnl::algorithm;
  if (name == "sum") return algorithm::reduction_sum;
  if (name == "mean") return algorithm::reduction_mean;
  if (name == "max") return algorithm::reduction_max;
  if (name == "min") return algorithm::reduction_min;
  if (name == "mul") return algorithm::reduction_mul;
  throw SpecError("bad token `alg=" + std::string(name) + "`: sum, mean, max, min or mul");
}

Recipe Unary(dnnl::primitive_desc_base primitive, const dnnl::memory::desc& src, const dnnl::memory::desc& dst) {
  return {std::move(primitive),
          {AsGiven(DNNL_ARG_SRC, src)},
          AsGiven(DNNL_ARG_DST, dst)};
}

}  // namespace

Recipe MakeEltwise(Spec& spec) {
  const PostOps post = ReadPostOps(spec);
  const auto src = spec.Memory("src"), dst = spec.Memory("dst");
  const auto name = spec.Text("alg");
  const auto algorithm = EltwiseAlgorithm(name, "alg=" + std::string(name));
  Recipe recipe = Unary(
      dnnl::eltwise_forward::primitive_desc(CpuEngine(), dnnl::prop_kind::forward_inference, algorithm, src, dst,
                                            spec.FloatOr("alpha", 0), spec.FloatOr("beta", 0), post.attr),
      src, dst);
  post.AppendTo(recipe);
  return recipe;
}

Recipe MakeBinary(Spec& spec) {
  const PostOps post = ReadPostOps(spec);
  const auto src0 = spec.Memory("src0"), src1 = spec.Memory("src1"), dst = spec.Memory("dst");
  const auto name = spec.Text("alg");
  const auto algorithm = BinaryAlgorithm(name, "alg=" + std::string(name));
  Recipe recipe{
      dnnl::binary::primitive_desc(CpuEngine(), algorithm, src0, src1, dst, post.attr),
      {AsGiven(DNNL_ARG_SRC_0, src0), AsGiven(DNNL_ARG_SRC_1, src1)},
      AsGiven(DNNL_ARG_DST, dst),
  };
  post.AppendTo(recipe);
  return recipe;
}

Recipe MakeReduction(Spec& spec) {
  const PostOps post = ReadPostOps(spec);
  const auto src = spec.Memory("src"), dst = spec.Memory("dst");
  Recipe recipe = Unary(dnnl::reduction::primitive_desc(CpuEngine(), ReductionAlgorithm(spec.Text("alg")), src, dst,
                                                        /*p=*/0, /*eps=*/0, post.attr),
                        src, dst);
  post.AppendTo(recipe);
  return recipe;
}

Recipe MakeConcat(Spec& spec) {
  const auto srcs = spec.Memories("srcs");
  const auto dst = spec.Memory("dst");
  std::vector<Tensor> operands;
  for (const auto& src : srcs)
    operands.push_back(AsGiven(DNNL_ARG_MULTIPLE_SRC + static_cast<int>(operands.size()), src));
  return {dnnl::concat::primitive_desc(CpuEngine(), dst, spec.Axis("axis", dst), srcs, PlainAttributes()),
          std::move(operands), AsGiven(DNNL_ARG_DST, dst)};
}

Recipe MakeReorder(Spec& spec) {
  const auto src = spec.Memory("src"), dst = spec.Memory("dst");
  return Unary(dnnl::reorder::primitive_desc(CpuEngine(), src, CpuEngine(), dst, PlainAttributes()), src, dst);
}

}  // namespace collage::onednn
