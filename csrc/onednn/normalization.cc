// Softmax, layer normalization and batch normalization with given statistics.
#include "post_ops.h"
#include "recipe.h"

namespace collage::onednn {
namespace {

using dnnl::memory;
using dnnl::normalization_flags;

bool Has(normalization_flags flags, normalization_flags flag) { return (flags & flag) != normalization_flags::none; }

// scale, shift, relu joined by `+`, or none.
normalization_flags ReadFlags(Spec& spec, bool allow_relu) {
  const std::string_view text = spec.TextOr("flags", "none");
  auto flags = normalization_flags::none;
  if (text == "none") return flags;
  for (std::string_view flag : Split(text, '+')) {
    if (flag == "scale")
      flags |= normalization_flags::use_scale;
    else if (flag == "shift")
      flags |= normalization_flags::use_shift;
    else if (flag == "relu" && allow_relu)
      flags |= normalization_flags::fuse_norm_relu;
    else
      throw SpecError("bad token `flags=" + std::string(text) + "`: `" + std::string(flag) + "` is not known here");
  }
  return flags;
}

memory::desc Vector(int64_t size) { return memory::desc({size}, memory::data_type::f32, memory::format_tag::a); }

void AppendAffine(Recipe& recipe, normalization_flags flags, int64_t size) {
  if (Has(flags, normalization_flags::use_scale)) recipe.operands.push_back(AsGiven(DNNL_ARG_SCALE, Vector(size)));
  if (Has(flags, normalization_flags::use_shift)) recipe.operands.push_back(AsGiven(DNNL_ARG_SHIFT, Vector(size)));
}

}  // namespace

Recipe MakeSoftmax(Spec& spec) {
  const PostOps post = ReadPostOps(spec);
  const auto src = spec.Memory("src"), dst = spec.Memory("dst");
  const auto name = spec.Text("alg");
  if (name != "softmax" && name != "log_softmax")
    throw SpecError("bad token `alg=" + std::string(name) + "`: softmax or log_softmax");
  const auto algorithm =
      name == "softmax" ? dnnl::algorithm::softmax_accurate : dnnl::algorithm::softmax_log;
  Recipe recipe{
      dnnl::softmax_forward::primitive_desc(CpuEngine(), dnnl::prop_kind::forward_inference, algorithm, src,
                                                         dst, spec.Axis("axis", src), post.attr),
      {AsGiven(DNNL_ARG_SRC, src)},
      AsGiven(DNNL_ARG_DST, dst),
  };
  if (spec.FlagOr("keep_nan", false)) recipe.keep_nan = KeepNanInRows(src, dst, spec.Axis("axis", src));
  post.AppendTo(recipe);
  return recipe;
}

Recipe MakeLayerNorm(Spec& spec) {
  const auto src = spec.Memory("src"), dst = spec.Memory("dst");
  const auto flags = ReadFlags(spec, /*allow_relu=*/false);
  Recipe recipe{
      dnnl::layer_normalization_forward::primitive_desc(
          CpuEngine(), dnnl::prop_kind::forward_inference, src, dst, spec.Float("eps"), flags, PlainAttributes()),
      {AsGiven(DNNL_ARG_SRC, src)},
      AsGiven(DNNL_ARG_DST, dst),
  };
  AppendAffine(recipe, flags, src.get_dims().back());
  return recipe;
}

Recipe MakeBatchNorm(Spec& spec) {
  const auto src = spec.Memory("src"), dst = spec.Memory("dst");
  const auto flags = ReadFlags(spec, /*allow_relu=*/true);
  if (src.get_ndims() < 2) throw SpecError("bad token `src=`: batchnorm needs a batch and a channel dimension");
  const int64_t channels = src.get_dims()[1];
  Recipe recipe{
      dnnl::batch_normalization_forward::primitive_desc(
          CpuEngine(), dnnl::prop_kind::forward_inference, src, dst, spec.Float("eps"),
          flags | normalization_flags::use_global_stats, PlainAttributes()),
      {AsGiven(DNNL_ARG_SRC, src), AsGiven(DNNL_ARG_MEAN, Vector(channels)),
                   AsGiven(DNNL_ARG_VARIANCE, Vector(channels))},
      AsGiven(DNNL_ARG_DST, dst),
  };
  AppendAffine(recipe, flags, channels);
  return recipe;
}

}  // namespace collage::onednn
