#include "problem.h"

namespace collage::winograd {

Problem ParseProblem(std::string_view spec) {
  Tokens tokens(spec);
  Problem p{};
  const std::string op = tokens.Take("op");
  if (op != "conv" && op != "pack") Reject("op=" + op, "conv or pack");
  p.packs = op == "pack";
  const int64_t tile = tokens.Numbers("tile", 1, 0)[0];
  if (tile != 2 && tile != 4) Reject("tile=" + std::to_string(tile), "2 or 4");
  const auto src = tokens.Numbers("src", 5, 1), dst = tokens.Numbers("dst", 5, 1);
  p.result_row = tokens.Row(dst[4]);
  const auto along_depth = tokens.Numbers("depth", 3, 1), pads = tokens.Numbers("pads", 3, -kLargest);
  p.batch = src[0], p.depth = src[1], p.height = src[2], p.width = src[3], p.channels = src[4];
  const auto up = tokens.Numbers("up", 2, 1);
  p.up_height = up[0], p.up_width = up[1];
  p.out_depth = dst[1], p.out_height = dst[2], p.out_width = dst[3], p.out_channels = dst[4];
  p.kernel_depth = along_depth[0], p.stride_depth = along_depth[1], p.dilation_depth = along_depth[2];
  p.pad_depth = pads[0], p.pad_height = pads[1], p.pad_width = pads[2];
  const bool doubled = p.up_height == 2 && p.up_width == 2 && p.pad_height % 2 != 0 && p.pad_width % 2 != 0;
  p.method = tile == 2 ? Method::kTwo : doubled ? Method::kDoubled : Method::kFour;
  p.sides = SidesOf(p.method);
  p.bias = tokens.Flag("bias"), p.add = tokens.Flag("add"), p.relu = tokens.Flag("relu");
  p.packed = tokens.Flag("packed");
  if (tokens.Has("isa")) p.isa = tokens.Take("isa");
  tokens.RequireAllTaken();

  if (src[0] != dst[0]) throw SpecError("src and dst differ in their first size, the batch");
  if (p.height % p.up_height != 0 || p.width % p.up_width != 0)
    throw SpecError("src must have multiples of up=" + std::to_string(p.up_height) + "x" + std::to_string(p.up_width) +
                    " pixels");
  if (p.channels % kVector != 0 || p.out_channels % kVector != 0)
    throw SpecError("Winograd here takes channels in multiples of " + std::to_string(kVector) + ", got " +
                    std::to_string(p.channels) + " in and " + std::to_string(p.out_channels) + " out");
  RequireSize("src", {p.batch, p.depth, p.height, p.width, p.channels});
  RequireSize("dst", {p.batch, p.out_depth, p.out_height, p.out_width, p.result_row});
  RequireSize("the transformed kernel", {p.kernel_depth, p.points(), p.channels, p.out_channels});
  RequireSize("the transformed source", {p.depth, p.data(), p.tiles() + 1, p.channels});
  RequireSize("the products", {p.out_depth, p.points(), p.tiles() + 1, p.out_channels});
  RequireSize("the padded source", {p.out_depth, p.stride_depth});
  RequireSize("the kernel with its gaps", {p.kernel_depth, p.dilation_depth});
  return p;
}

}  // namespace collage::winograd
