#include "problem.h"

#include <limits>

namespace collage::grouped {
namespace {

constexpr int64_t kMostTaps = 1 << 16;  // a plan has a few words for each

std::array<int64_t, 2> Pair(Tokens& tokens, const char* key, int64_t least) {
  const std::vector<int64_t> numbers = tokens.Numbers(key, 2, least);
  return {numbers[0], numbers[1]};
}

void RequireSizes(const Problem& p) {
  const int64_t channels = p.channels + 2 * kBlock;
  RequireSize("the source", {p.batch, p.src[0], p.src[1], channels});
  RequireSize("the result", {p.batch, p.dst[0], p.dst[1], p.result_row + 2 * kBlock});
  RequireSize("the kernel", {p.kernel[0], p.kernel[1], p.group, channels});
  if (p.taps() > kMostTaps) throw SpecError("a kernel of more than " + std::to_string(kMostTaps) + " elements");
  for (int axis = 0; axis < 2; ++axis) {
    RequireSize("the kernel with its gaps", {p.kernel[axis], p.dilation[axis]});
    RequireSize("the padded source", {p.dst[axis], p.strides[axis]});
    RequireSize("the padding", {p.pads[axis]});
  }
  RequireSize("what a row of results reads", {p.span(0), p.kernel[1], p.dst[1] + p.span(1), p.group + kBlock});
}

}  // namespace

Problem ParseProblem(std::string_view spec) {
  Tokens tokens(spec);
  Problem p{};
  const std::string op = tokens.Take("op");
  if (op != "conv" && op != "pack") Reject("op=" + op, "conv or pack");
  p.packs = op == "pack";
  const auto src = tokens.Numbers("src", 4, 1), dst = tokens.Numbers("dst", 4, 1);
  p.batch = src[0], p.src = {src[1], src[2]}, p.dst = {dst[1], dst[2]}, p.channels = src[3];
  if (src[0] != dst[0] || src[3] != dst[3]) throw SpecError("src and dst differ in images or channels");
  p.kernel = Pair(tokens, "kernel", 1);
  p.group = tokens.Numbers("group", 1, 1)[0];
  const bool few = p.group == 1 || p.group == 2 || p.group == 4 || p.group == 8;
  if ((!few && p.group % kBlock != 0) || p.channels % p.group != 0)
    Reject("group=" + std::to_string(p.group), "1, 2, 4, 8 or a multiple of 16 that divides the channels is needed");
  p.strides = Pair(tokens, "strides", 1), p.dilation = Pair(tokens, "dilation", 1), p.pads = Pair(tokens, "pads", 0);
  p.result_row = tokens.Row(p.channels);
  RequireSizes(p);
  p.relu = tokens.Flag("relu"), p.bias = tokens.Flag("bias"), p.add = tokens.Flag("add");
  p.gate = tokens.Has("gate") && tokens.Flag("gate");
  const float low = tokens.Float("low"), high = tokens.Float("high");
  const float infinity = std::numeric_limits<float>::infinity();
  p.tail = {low, high, low != -infinity, high != infinity};
  p.packed = tokens.Flag("packed");
  if (tokens.Has("isa")) p.isa = tokens.Take("isa");
  tokens.RequireAllTaken();
  return p;
}

}  // namespace collage::grouped
