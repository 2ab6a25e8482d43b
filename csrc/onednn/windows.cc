// Pooling and resampling.
#include "post_ops.h"
#include "recipe.h"

namespace collage::onednn {
namespace {

dnnl::algorithm PoolingAlgorithm(std::string_view name) {
  if (name == "max") return dnnl::algorithm::pooling_max;
  if (name == "avg_include") return dnnl::algorithm::pooling_avg_include_padding;
  if (name == "avg_exclude") return dnnl::algorithm::pooling_avg_exclude_padding;
  throw SpecError("bad token `alg=" + std::string(name) + "`: max, avg_include or avg_exclude");
}

dnnl::algorithm ResamplingAlgorithm(std::string_view name) {
  if (name == "nearest") return dnnl::algorithm::resampling_nearest;
  if (name == "linear") return dnnl::algorithm::resampling_linear;
  throw SpecError("bad token `alg=" + std::string(name) + "`: nearest or linear");
}

}  // namespace

Recipe MakePooling(Spec& spec) {
  const PostOps post = ReadPostOps(spec);
  const auto src = spec.Memory("src"), dst = spec.Memory("dst");
  const auto kernel = spec.Window("kernel", src, 1), strides = spec.Window("strides", src, 1);
  const auto dilates = spec.Window("dilates", src, 0), before = spec.Window("pads_l", src, 0);
  Recipe recipe{
      dnnl::pooling_forward::primitive_desc(CpuEngine(), dnnl::prop_kind::forward_inference,
                                            PoolingAlgorithm(spec.Text("alg")), src, dst, strides, kernel, dilates,
                                            before, spec.Window("pads_r", src, 0), post.attr),
      {AsGiven(DNNL_ARG_SRC, src)},
      AsGiven(DNNL_ARG_DST, dst),
  };
  if (spec.FlagOr("keep_nan", false)) recipe.keep_nan = KeepNanInWindows(src, dst, kernel, strides, dilates, before);
  post.AppendTo(recipe);
  return recipe;
}

Recipe MakeResampling(Spec& spec) {
  const PostOps post = ReadPostOps(spec);
  const auto src = spec.Memory("src"), dst = spec.Memory("dst");
  Recipe recipe{
      dnnl::resampling_forward::primitive_desc(CpuEngine(), dnnl::prop_kind::forward_inference,
                                                            ResamplingAlgorithm(spec.Text("alg")),
                                                            spec.Floats("factors"), src, dst, post.attr),
      {AsGiven(DNNL_ARG_SRC, src)},
      AsGiven(DNNL_ARG_DST, dst),
  };
  post.AppendTo(recipe);
  return recipe;
}

}  // namespace collage::onednn
