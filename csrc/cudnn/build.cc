// The text is JSON:
//
//   {"compute": "FLOAT", "precise": false,
//    "tensors": [{"uid": 1, "dim": [...], "stride": [...], "type": "HALF"}, {"uid": 7, "value": 0.125}, ...],
//    "nodes": [{"op": "conv_fprop", "in": {"x": 1, "w": 2}, "out": {"y": 3}, ...}, ...],
//    "operands": [1, 2], "results": [3]}
//
// Types, modes and phases have cudnn-frontend's names. A tensor that is neither operand nor result stays inside; one with
// a value is a number.
//
// Graphs that run one after another are {"stages": [such a graph, ...], "operands": [...], "results": [...]}. What one
// makes and another reads, and is no result of the whole, has the same uid in both and lies in the workspace.
#include "build.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

namespace collage::cudnn {
namespace {

using nlohmann::json;
using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;
using fe::graph::Tensor_attributes;

std::vector<int64_t> Numbers(const json& node, const char* name) { return node.at(name).get<std::vector<int64_t>>(); }

// cudnn-frontend has a form of its own for numbers of single precision in JSON, which is not meant here.
float Number(const json& node, const char* name) { return static_cast<float>(node.at(name).get<double>()); }

template <typename T>
T Named(const json& node, const char* name) {
  const T value = node.at(name).get<T>();
  // A name that is unknown becomes the first of its kind, whose own name is null.
  if (json(value).is_null()) throw std::runtime_error("`" + node.at(name).get<std::string>() + "` is no " + name);
  return value;
}

class Builder {
 public:
  explicit Builder(const json& spec) : spec_(spec) {
    for (const json& tensor : spec.at("tensors")) described_[tensor.at("uid").get<int64_t>()] = &tensor;
  }

  std::unique_ptr<Graph> Make(const Device* device) {
    graph_ = std::make_unique<Graph>();
    if (device != nullptr) Aim(*device);
    const auto compute = Named<fe::DataType_t>(spec_, "compute");
    graph_->set_io_data_type(compute).set_intermediate_data_type(compute).set_compute_data_type(compute);
    for (const json& node : spec_.at("nodes")) Add(node);
    for (const char* side : {"operands", "results"})
      for (const json& uid : spec_.at(side)) graph_->uids.push_back(uid.get<int64_t>());
    for (const json& uid : spec_.at("results")) At(uid.get<int64_t>())->set_output(true);
    return std::move(graph_);
  }

 private:
  // Before there are nodes, since some of them ask: cuDNN would turn to the driver for the architecture.
  void Aim(const Device& device) {
    auto properties = std::make_shared<fe::DeviceProperties>();
    Check(properties->deserialize(std::vector<uint8_t>(device.properties.begin(), device.properties.end())));
    graph_->set_device_properties(properties).set_sm_version(device.sm);
  }

  const json& Described(int64_t uid) const {
    const auto found = described_.find(uid);
    if (found == described_.end()) throw std::runtime_error("tensor " + std::to_string(uid) + " is not described");
    return *found->second;
  }

  // The tensor `uid`: made by a node before, or else given.
  Tensor At(int64_t uid) {
    const auto found = tensors_.find(uid);
    if (found != tensors_.end()) return found->second;
    const json& described = Described(uid);
    if (described.contains("value")) return tensors_[uid] = graph_->tensor(Tensor_attributes(Number(described, "value")));
    Tensor_attributes attributes;
    attributes.set_uid(uid)
        .set_dim(Numbers(described, "dim"))
        .set_stride(Numbers(described, "stride"))
        .set_data_type(Named<fe::DataType_t>(described, "type"));
    return tensors_[uid] = graph_->tensor(attributes);
  }

  Tensor In(const json& node, const char* name) { return At(node.at("in").at(name).get<int64_t>()); }
  Tensor InIf(const json& node, const char* name) { return node.at("in").contains(name) ? In(node, name) : nullptr; }

  // Gives what a node made the place and form that the text has for it.
  void Out(const json& node, const char* name, const Tensor& tensor) {
    const int64_t uid = node.at("out").at(name).get<int64_t>();
    const json& described = Described(uid);
    tensor->set_uid(uid)
        .set_dim(Numbers(described, "dim"))
        .set_stride(Numbers(described, "stride"))
        .set_data_type(Named<fe::DataType_t>(described, "type"));
    tensors_[uid] = tensor;
  }

  void Add(const json& node) {
    const auto op = node.at("op").get<std::string>();
    if (op == "conv_fprop") {
      auto attributes = Sliding(fe::graph::Conv_fprop_attributes(), node);
      Out(node, "y", graph_->conv_fprop(In(node, "x"), In(node, "w"), attributes));
    } else if (op == "conv_dgrad") {
      auto attributes = Sliding(fe::graph::Conv_dgrad_attributes(), node);
      Out(node, "dx", graph_->conv_dgrad(In(node, "dy"), In(node, "w"), attributes));
    } else if (op == "conv_wgrad") {
      auto attributes = Sliding(fe::graph::Conv_wgrad_attributes(), node);
      Out(node, "dw", graph_->conv_wgrad(In(node, "dy"), In(node, "x"), attributes));
    } else if (op == "matmul") {
      Out(node, "c", graph_->matmul(In(node, "a"), In(node, "b"), fe::graph::Matmul_attributes()));
    } else if (op == "pointwise") {
      Pointwise(node);
    } else if (op == "reduction") {
      auto attributes = fe::graph::Reduction_attributes().set_mode(Named<fe::ReductionMode_t>(node, "mode"));
      Out(node, "y", graph_->reduction(In(node, "x"), attributes));
    } else if (op == "resample") {
      Resample(node);
    } else if (op == "layernorm") {
      auto attributes = Norm(fe::graph::Layernorm_attributes(), node);
      auto made = graph_->layernorm(In(node, "x"), In(node, "scale"), In(node, "bias"), attributes);
      Outs(node, {"y", "mean", "inv_variance"}, made);
    } else if (op == "layernorm_backward") {
      fe::graph::Layernorm_backward_attributes attributes;
      attributes.set_saved_mean_and_inv_variance(In(node, "mean"), In(node, "inv_variance"));
      auto made = graph_->layernorm_backward(In(node, "dy"), In(node, "x"), In(node, "scale"), attributes);
      Outs(node, {"dx", "dscale", "dbias"}, made);
    } else if (op == "rmsnorm") {
      auto attributes = Norm(fe::graph::Rmsnorm_attributes(), node);
      Outs(node, {"y", "inv_variance"}, graph_->rmsnorm(In(node, "x"), In(node, "scale"), attributes));
    } else if (op == "rmsnorm_backward") {
      fe::graph::Rmsnorm_backward_attributes attributes;
      attributes.has_dbias(false);
      auto made = graph_->rmsnorm_backward(In(node, "dy"), In(node, "x"), In(node, "scale"), In(node, "inv_variance"),
                                           attributes);
      Outs(node, {"dx", "dscale"}, made);
    } else if (op == "batchnorm") {
      Tensor epsilon = In(node, "epsilon");
      auto attributes = fe::graph::Batchnorm_attributes().set_epsilon(epsilon);
      auto made = graph_->batchnorm(In(node, "x"), In(node, "scale"), In(node, "bias"), attributes);
      Outs(node, {"y", "mean", "inv_variance"}, made);
    } else if (op == "batchnorm_backward") {
      fe::graph::Batchnorm_backward_attributes attributes;
      Tensor mean = In(node, "mean"), inverse = In(node, "inv_variance");
      attributes.set_saved_mean_and_inv_variance(mean, inverse);
      auto made = graph_->batchnorm_backward(In(node, "dy"), In(node, "x"), In(node, "scale"), attributes);
      Outs(node, {"dx", "dscale", "dbias"}, made);
    } else if (op == "sdpa") {
      auto attributes = Attention(fe::graph::SDPA_attributes(), node);
      attributes.set_generate_stats(node.at("out").contains("stats"));
      Outs(node, {"o", "stats"}, graph_->sdpa(In(node, "q"), In(node, "k"), In(node, "v"), attributes));
    } else if (op == "sdpa_backward") {
      auto made = graph_->sdpa_backward(In(node, "q"), In(node, "k"), In(node, "v"), In(node, "o"), In(node, "do"),
                                        In(node, "stats"), Attention(fe::graph::SDPA_backward_attributes(), node));
      Outs(node, {"dq", "dk", "dv"}, made);
    } else {
      throw std::runtime_error("there is no operation `" + op + "`");
    }
  }

  template <typename Made>
  void Outs(const json& node, std::initializer_list<const char*> names, const Made& made) {
    auto tensor = std::begin(made);
    for (const char* name : names) {
      if (node.at("out").contains(name)) Out(node, name, *tensor);
      ++tensor;
    }
  }

  // What only a gradient reads is made in training alone.
  template <typename Attributes>
  Attributes Norm(Attributes attributes, const json& node) {
    Tensor epsilon = In(node, "epsilon");
    attributes.set_epsilon(epsilon).set_forward_phase(node.at("out").contains("inv_variance")
                                                          ? fe::NormFwdPhase_t::TRAINING
                                                          : fe::NormFwdPhase_t::INFERENCE);
    return attributes;
  }

  template <typename Attributes>
  Attributes Attention(Attributes attributes, const json& node) {
    attributes.set_attn_scale(Number(node, "scale")).set_causal_mask(node.value("causal", false));
    if (Tensor bias = InIf(node, "bias")) attributes.set_bias(bias);
    return attributes;
  }

  template <typename Attributes>
  static Attributes Sliding(Attributes attributes, const json& node) {
    attributes.set_pre_padding(Numbers(node, "pre"))
        .set_post_padding(Numbers(node, "post"))
        .set_stride(Numbers(node, "stride"))
        .set_dilation(Numbers(node, "dilation"));
    return attributes;
  }

  void Pointwise(const json& node) {
    fe::graph::Pointwise_attributes attributes;
    attributes.set_mode(Named<fe::PointwiseMode_t>(node, "mode"));
    if (node.contains("lower")) attributes.set_relu_lower_clip(Number(node, "lower"));
    if (node.contains("upper")) attributes.set_relu_upper_clip(Number(node, "upper"));
    if (node.contains("slope")) attributes.set_relu_lower_clip_slope(Number(node, "slope"));
    if (node.contains("alpha")) attributes.set_elu_alpha(Number(node, "alpha"));
    const Tensor a = In(node, "a"), b = InIf(node, "b"), c = InIf(node, "c");
    Out(node, "y",
        c   ? graph_->pointwise(a, b, c, attributes)
        : b ? graph_->pointwise(a, b, attributes)
            : graph_->pointwise(a, attributes));
  }

  void Resample(const json& node) {
    fe::graph::Resample_attributes attributes;
    attributes.set_resampling_mode(Named<fe::ResampleMode_t>(node, "mode"))
        .set_padding_mode(Named<fe::PaddingMode_t>(node, "padding"))
        .set_window(Numbers(node, "window"))
        .set_stride(Numbers(node, "stride"))
        .set_pre_padding(Numbers(node, "pre"))
        .set_post_padding(Numbers(node, "post"))
        .set_generate_index(false);
    Out(node, "y", graph_->resample(In(node, "x"), attributes)[0]);
  }

  const json& spec_;
  std::map<int64_t, const json*> described_;
  std::map<int64_t, Tensor> tensors_;
  std::unique_ptr<Graph> graph_;
};

std::unique_ptr<Graph> Made(const json& spec, const Device* device) {
  auto graph = Builder(spec).Make(device);
  // Engines that round float32 to TF32 where that is not wanted.
  if (spec.value("precise", false))
    graph->deselect_numeric_notes({fe::NumericalNote_t::TENSOR_CORE, fe::NumericalNote_t::DOWN_CONVERT_INPUTS});
  return graph;
}

// Arrays and workspaces begin at whole multiples of so many bytes, which suits every engine.
int64_t Aligned(int64_t bytes) { return (bytes + 255) / 256 * 256; }

int64_t Bytes(const json& tensor) {
  static const std::map<std::string, int64_t> sizes = {
      {"FLOAT", 4}, {"HALF", 2}, {"BFLOAT16", 2}, {"DOUBLE", 8}, {"BOOLEAN", 1}};
  int64_t bytes = sizes.at(tensor.at("type").get<std::string>());
  for (const int64_t size : Numbers(tensor, "dim")) bytes *= size;
  return bytes;
}

// Finds a place for all that the stages make beside the results.
void Place(const json& spec, Program& program) {
  const std::set<int64_t> known(program.uids.begin(), program.uids.end());
  for (const json& stage : spec.at("stages"))
    for (const json& uid : stage.at("results")) {
      if (known.contains(uid.get<int64_t>())) continue;
      const auto& tensors = stage.at("tensors");
      const auto made = std::find_if(tensors.begin(), tensors.end(), [&](const json& t) { return t.at("uid") == uid; });
      if (made == tensors.end()) throw std::runtime_error("tensor " + uid.dump() + " is not described");
      program.scratch[uid.get<int64_t>()] = program.scratch_bytes;
      program.scratch_bytes += Aligned(Bytes(*made));
    }
}

}  // namespace

Program Parse(std::string_view spec, const Device* device) {
  const json parsed = json::parse(spec);
  Program program;
  if (parsed.contains("stages")) {
    for (const json& stage : parsed.at("stages")) program.stages.push_back(Made(stage, device));
    for (const char* side : {"operands", "results"})
      for (const json& uid : parsed.at(side)) program.uids.push_back(uid.get<int64_t>());
    Place(parsed, program);
  } else {
    program.stages.push_back(Made(parsed, device));
    program.uids = program.stages.front()->uids;
  }
  return program;
}

int64_t Graph::MeasureEngine(int64_t index) {
  plans.set_max_workspace_allowed(-1);
  const std::string refusal = plans.check_support_at_index(index).get_message();
  const std::string before = "workspace violation. Requires ";
  const size_t found = refusal.find(before);
  if (found == std::string::npos) throw std::runtime_error("the workspace of an engine is unknown: " + refusal);
  return get_fe_workspace_size_subtree() + std::stoll(refusal.substr(found + before.size()));
}

void Check(fe::error_t status) {
  if (status.is_bad()) throw std::runtime_error(status.get_message());
}

}  // namespace collage::cudnn
