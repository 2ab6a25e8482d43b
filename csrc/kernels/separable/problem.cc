#include "problem.h"

#include <limits>

#include "../../tokens.h"
#include "../grouped/problem.h"
#include "../sgemm/panels.h"

namespace collage::separable {

int64_t Problem::packed_size() const { return sgemm::PackedSize(channels, columns); }

Problem ParseProblem(std::string_view spec) {
  constexpr std::string_view kMark = " depthwise: ";
  const size_t mark = spec.find(kMark);
  if (mark == std::string_view::npos) throw SpecError("missing `depthwise:` and what follows it");
  Tokens tokens(spec.substr(0, mark));
  Problem p{};
  const std::string op = tokens.Take("op");
  if (op != "conv" && op != "pack") Reject("op=" + op, "conv or pack");
  p.packs = op == "pack";
  p.columns = tokens.Numbers("columns", 1, 1)[0];
  p.result_row = tokens.Row(p.columns);
  p.bias = tokens.Flag("bias"), p.add = tokens.Flag("add");
  p.low = tokens.Float("low"), p.high = tokens.Float("high");
  if (tokens.Has("isa")) p.isa = tokens.Take("isa");
  tokens.RequireAllTaken();

  p.depthwise = "op=conv bias=0 add=0 low=-inf high=inf " + std::string(spec.substr(mark + kMark.size()));
  if (!p.isa.empty()) p.depthwise += " isa=" + p.isa;
  const grouped::Problem inner = grouped::ParseProblem(p.depthwise);
  if (!inner.packed) throw SpecError("the depthwise weights must be packed");
  if (inner.gate || inner.result_row != inner.channels)
    throw SpecError("what is between the two has no gate, and no room after its pixels");
  p.images = inner.batch, p.rows = inner.dst[0], p.width = inner.dst[1], p.channels = inner.channels;
  RequireSize("the pointwise weights", {p.channels, p.columns + sgemm::kVector});
  RequireSize("the result", {p.images, p.rows, p.width, p.result_row + sgemm::kVector});
  return p;
}

}  // namespace collage::separable
