#include "problem.h"

#include "../sgemm/panels.h"

namespace collage::narrow {

int64_t Problem::packed_size() const { return sgemm::PackedSize(channels, products()) + products(); }

Problem ParseProblem(std::string_view spec) {
  Tokens tokens(spec);
  Problem p{};
  const std::string op = tokens.Take("op");
  if (op != "conv" && op != "pack") Reject("op=" + op, "conv or pack");
  p.packs = op == "pack";
  const auto src = tokens.Numbers("src", 4, 1), dst = tokens.Numbers("dst", 4, 1);
  const auto kernel = tokens.Numbers("kernel", 2, 1), dilation = tokens.Numbers("dilation", 2, 1);
  const auto pads = tokens.Numbers("pads", 2, -kLargest);
  p.batch = src[0], p.height = src[1], p.width = src[2], p.channels = src[3];
  p.out_height = dst[1], p.out_width = dst[2], p.columns = dst[3];
  p.kernel_height = kernel[0], p.kernel_width = kernel[1];
  p.dilation_height = dilation[0], p.dilation_width = dilation[1];
  p.pad_height = pads[0], p.pad_width = pads[1];
  p.result_row = tokens.Row(p.columns);
  p.bias = tokens.Flag("bias");
  p.low = tokens.Float("low"), p.high = tokens.Float("high");
  p.packed = tokens.Flag("packed");
  if (tokens.Has("isa")) p.isa = tokens.Take("isa");
  tokens.RequireAllTaken();

  if (src[0] != dst[0]) throw SpecError("src and dst differ in their first size, the batch");
  if (p.columns > kMostColumns)
    throw SpecError("at most " + std::to_string(kMostColumns) + " output channels, got " + std::to_string(p.columns));
  RequireSize("src", {p.batch, p.height, p.width, p.channels});
  RequireSize("dst", {p.batch, p.out_height, p.out_width, p.result_row});
  RequireSize("the kernel", {p.kernel_height, p.kernel_width, p.channels, p.columns + sgemm::kVector});
  RequireSize("the window", {p.kernel_height, p.dilation_height});
  RequireSize("the window", {p.kernel_width, p.dilation_width});
  const int64_t width = p.out_width + p.kernel_width * p.dilation_width, lines = p.kernel_height * p.dilation_height;
  RequireSize("what a row of results reads", {lines + 2, width, p.products() + sgemm::kVector});
  RequireSize("products with panels", {p.width, p.products() + sgemm::kMostPanel});
  return p;
}

}  // namespace collage::narrow
