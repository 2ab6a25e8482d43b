#include "post_ops.h"

#include <string>
#include <utility>

namespace collage::onednn {
namespace {

using dnnl::algorithm;

constexpr std::pair<std::string_view, algorithm> kEltwise[] = {
    {"relu", algorithm::eltwise_relu},           {"tanh", algorithm::eltwise_tanh},
    {"elu", algorithm::eltwise_elu},             {"square", algorithm::eltwise_square},
    {"abs", algorithm::eltwise_abs},             {"sqrt", algorithm::eltwise_sqrt},
    {"swish", algorithm::eltwise_swish},         {"linear", algorithm::eltwise_linear},
    {"soft_relu", algorithm::eltwise_soft_relu}, {"mish", algorithm::eltwise_mish},
    {"logistic", algorithm::eltwise_logistic},   {"exp", algorithm::eltwise_exp},
    {"gelu_tanh", algorithm::eltwise_gelu_tanh}, {"gelu_erf", algorithm::eltwise_gelu_erf},
    {"log", algorithm::eltwise_log},             {"clip", algorithm::eltwise_clip},
    {"pow", algorithm::eltwise_pow},             {"round", algorithm::eltwise_round},
    {"hardswish", algorithm::eltwise_hardswish}, {"hardsigmoid", algorithm::eltwise_hardsigmoid},
};

constexpr std::pair<std::string_view, algorithm> kBinary[] = {
    {"add", algorithm::binary_add}, {"mul", algorithm::binary_mul}, {"sub", algorithm::binary_sub},
    {"div", algorithm::binary_div}, {"max", algorithm::binary_max}, {"min", algorithm::binary_min},
};

template <size_t N>
algorithm Lookup(const std::pair<std::string_view, algorithm> (&table)[N], std::string_view name,
                 std::string_view where) {
  for (const auto& [known, value] : table)
    if (name == known) return value;
  throw SpecError("bad token `" + std::string(where) + "`: no algorithm `" + std::string(name) + "`");
}

}  // namespace

algorithm EltwiseAlgorithm(std::string_view name, std::string_view where) { return Lookup(kEltwise, name, where); }
algorithm BinaryAlgorithm(std::string_view name, std::string_view where) { return Lookup(kBinary, name, where); }

dnnl::primitive_attr PlainAttributes() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

void PostOps::AppendTo(Recipe& recipe) const {
  recipe.operands.insert(recipe.operands.end(), operands.begin(), operands.end());
  recipe.has_sum = has_sum;
}

PostOps ReadPostOps(Spec& spec) {
  PostOps result{PlainAttributes(), {}, false};
  if (!spec.Has("post")) return result;

  dnnl::post_ops ops;
  for (std::string_view item : Split(spec.Text("post"), '|')) {
    const std::string where = "post=" + std::string(item);
    auto parts = Split(item, ':');
    if (parts[0] == "eltwise" && parts.size() == 4) {
      ops.append_eltwise(EltwiseAlgorithm(parts[1], where), ParseFloat(parts[2], where), ParseFloat(parts[3], where));
    } else if (parts[0] == "sum" && parts.size() == 2) {
      if (result.has_sum) throw SpecError("bad token `" + where + "`: at most one sum");
      ops.append_sum(ParseFloat(parts[1], where));
      result.has_sum = true;
    } else if (parts[0] == "binary" && parts.size() == 5) {
      auto desc = ParseMemory(item.substr(parts[2].data() - item.data()), where);
      result.operands.push_back(AsGiven(DNNL_ARG_ATTR_MULTIPLE_POST_OP(ops.len()) | DNNL_ARG_SRC_1, desc));
      ops.append_binary(BinaryAlgorithm(parts[1], where), desc);
    } else {
      throw SpecError("bad token `" + where + "`: eltwise:<alg>:<alpha>:<beta>, sum:<scale> or binary:<alg>:<memory>");
    }
  }
  result.attr.set_post_ops(ops);
  return result;
}

}  // namespace collage::onednn
