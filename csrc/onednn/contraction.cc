// Convolution, transposed convolution and matrix product, and the packing of their weights.
#include <limits>

#include "post_ops.h"
#include "recipe.h"

namespace collage::onednn {
namespace {

using dnnl::memory;

constexpr int64_t kAnyPadding = std::numeric_limits<int32_t>::min();

bool IsAny(const memory::desc& desc) { return desc.get_format_kind() == memory::format_kind::any; }

struct Descs {
  memory::desc src, wei, bia, dst;  // an empty `bia` means none
};

template <typename Primitive>
dnnl::primitive_desc Convolution(Spec& spec, dnnl::algorithm algorithm, const Descs& descs,
                                 const dnnl::primitive_attr& attr) {
  const auto strides = spec.Window("strides", descs.src, 1), dilates = spec.Window("dilates", descs.src, 0);
  // Negative padding crops. The library refuses it where it cannot.
  const auto before = spec.Window("pads_l", descs.src, kAnyPadding);
  const auto after = spec.Window("pads_r", descs.src, kAnyPadding);
  return typename Primitive::primitive_desc(CpuEngine(), dnnl::prop_kind::forward_inference, algorithm, descs.src,
                                            descs.wei, descs.bia, descs.dst, strides, dilates, before, after, attr);
}

dnnl::primitive_desc ContractionPrimitive(std::string_view op, Spec& spec, const Descs& descs,
                                          const dnnl::primitive_attr& attr) {
  if (op == "conv")
    return Convolution<dnnl::convolution_forward>(spec, dnnl::algorithm::convolution_direct, descs, attr);
  if (op == "deconv")
    return Convolution<dnnl::deconvolution_forward>(spec, dnnl::algorithm::deconvolution_direct, descs, attr);
  return dnnl::matmul::primitive_desc(CpuEngine(), descs.src, descs.wei, descs.bia, descs.dst, attr);
}

Recipe Contraction(std::string_view op, Spec& spec) {
  const PostOps post = ReadPostOps(spec);
  Descs given{spec.Memory("src"), spec.Memory("wei", /*allow_any=*/true), {}, spec.Memory("dst")};
  const bool has_bias = spec.Has("bia");
  if (has_bias) given.bia = spec.Memory("bia");

  std::optional<memory::desc> plain;
  if (spec.Has("plain")) {  // the strides of the weights before packing
    if (!IsAny(given.wei)) throw SpecError("bad token `wei=`: with plain= its strides must be any");
    plain = spec.MemoryWithStrides("wei", "plain");
  } else if (!IsAny(given.wei)) {
    plain = given.wei;
  }

  Descs asked = given;
  if (spec.FlagOr("wei_reorder", false)) asked.wei = Any(given.wei);
  if (spec.ChoosesInner()) asked.src = Any(given.src), asked.dst = Any(given.dst);

  auto primitive = ContractionPrimitive(op, spec, asked, post.attr);
  const memory::desc weights = primitive.weights_desc();
  Recipe recipe{
      primitive,
      {{DNNL_ARG_SRC, given.src, primitive.src_desc()},
                   {DNNL_ARG_WEIGHTS, IsAny(given.wei) ? weights : given.wei, weights, IsAny(given.wei)}},
      {DNNL_ARG_DST, given.dst, primitive.dst_desc()},
      weights,
      plain,
  };
  if (has_bias) recipe.operands.push_back(AsGiven(DNNL_ARG_BIAS, given.bia));
  post.AppendTo(recipe);
  return recipe;
}

}  // namespace

Recipe MakeContraction(Spec& spec) { return Contraction(spec.op(), spec); }

Recipe MakePacking(Spec& spec) {
  spec.Text("plain");  // required here
  const Recipe consumer = Contraction(std::string_view(spec.op()).substr(std::string_view("pack.").size()), spec);
  const memory::desc &plain = *consumer.plain_weights, &packed = *consumer.weights;
  return {
      dnnl::reorder::primitive_desc(CpuEngine(), plain, CpuEngine(), packed, PlainAttributes()),
      {AsGiven(DNNL_ARG_FROM, plain)},
      {DNNL_ARG_TO, packed, packed, /*packed=*/true},
      packed,
      plain,
  };
}

}  // namespace collage::onednn
