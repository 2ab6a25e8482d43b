// Gradients: of a convolution, that of its weights. That of its source is a convolution again, or a transposed one.
#include "post_ops.h"
#include "recipe.h"

namespace collage::onednn {

// The library's own layout of the weights is asked for, whose code is far better, and left by a reorder at the end.
Recipe MakeWeightsGradient(Spec& spec) {
  const auto src = spec.Memory("src"), diff = spec.Memory("diff"), dst = spec.Memory("dst");
  const auto strides = spec.Window("strides", src, 1), dilates = spec.Window("dilates", src, 0);
  const auto before = spec.Window("pads_l", src, 0), after = spec.Window("pads_r", src, 0);
  const bool chooses = spec.ChoosesInner();
  const auto asked = [&](const dnnl::memory::desc& desc) { return chooses ? Any(desc) : desc; };
  constexpr auto kDirect = dnnl::algorithm::convolution_direct;
  const dnnl::convolution_forward::primitive_desc forward(CpuEngine(), dnnl::prop_kind::forward_training, kDirect,
                                                          asked(src), Any(dst), asked(diff), strides, dilates, before,
                                                          after, PlainAttributes());
  const dnnl::convolution_backward_weights::primitive_desc backward(CpuEngine(), kDirect, asked(src), Any(dst),
                                                                    asked(diff), strides, dilates, before, after,
                                                                    forward, PlainAttributes());
  return {
      backward,
      {{DNNL_ARG_SRC, src, backward.src_desc()}, {DNNL_ARG_DIFF_DST, diff, backward.diff_dst_desc()}},
      {DNNL_ARG_DIFF_WEIGHTS, dst, backward.diff_weights_desc()},
  };
}

}  // namespace collage::onednn
