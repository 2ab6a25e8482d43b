#include "compiled.h"

#include <cstring>
#include <string>
#include <utility>

namespace collage::openvino {
namespace {

size_t Aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// One for the process, never freed: it holds the plugins, whose threads must not end before ours.
const Core* TheCore() {
  static Core* core = [] {
    Core* made = nullptr;
    Check(Library().core_create(&made), "start");
    return made;
  }();
  return core;
}

Owned<Tensor> TensorOn(ElementType type, std::vector<int64_t> dims, void* memory) {
  Tensor* tensor = nullptr;
  const auto rank = static_cast<int64_t>(dims.size());
  dims.push_back(1);  // no library minds a pointer to something
  Check(Library().tensor_from_host(type, {rank, dims.data()}, memory, &tensor),
        "take an array");
  return {tensor, {Library().tensor_free}};
}

}  // namespace

Compiled::Compiled(std::shared_ptr<const Recipe> own, const std::vector<const void*>& weights)
    : recipe_(std::move(own)) {
  const Recipe& recipe = *recipe_;
  size_t bytes = Aligned(recipe.literals.size());
  for (const Array& array : recipe.weights) bytes += Aligned(array.bytes());
  data_.resize(bytes + kAlignment);
  const size_t shift = kAlignment - reinterpret_cast<uintptr_t>(data_.data()) % kAlignment;
  std::byte* const begin = data_.data() + shift % kAlignment;
  std::memcpy(begin, recipe.literals.data(), recipe.literals.size());
  std::byte* next = begin + Aligned(recipe.literals.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    std::memcpy(next, weights[i], recipe.weights[i].bytes());
    next += Aligned(recipe.weights[i].bytes());
  }
  const Api& library = Library();
  const Owned<Tensor> data =
      bytes == 0 ? Owned<Tensor>() : TensorOn(kU8, {static_cast<int64_t>(bytes)}, static_cast<void*>(begin));
  Model* model = nullptr;
  Check(library.read_model(TheCore(), recipe.model.c_str(), recipe.model.size(), data.get(), &model), "read a model");
  const Owned<Model> owned(model, {library.model_free});
  const std::string threads = std::to_string(recipe.threads);
  CompiledModel* compiled = nullptr;
  // Float32 means float32, on processors with matrix units for bfloat16 too; and the cores are XLA's as well.
  Check(library.compile_model(TheCore(), model, "CPU", 10, &compiled, "PERFORMANCE_HINT", "LATENCY",
                              "INFERENCE_PRECISION_HINT", "f32", "INFERENCE_NUM_THREADS", threads.c_str(),
                              "ENABLE_CPU_PINNING", "NO", "NUM_STREAMS", "1"),
        "compile a model");
  model_ = {compiled, {library.compiled_model_free}};
}

std::unique_ptr<Compiled::Request> Compiled::Borrow() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!idle_.empty()) {
      auto request = std::move(idle_.back());
      idle_.pop_back();
      return request;
    }
  }
  InferRequest* made = nullptr;
  Check(Library().create_infer_request(model_.get(), &made), "prepare a run");
  auto request = std::make_unique<Request>();
  request->request = {made, {Library().infer_request_free}};
  request->bound.resize(recipe_->inputs.size() + recipe_->outputs.size());
  return request;
}

void Compiled::Bind(Request& request, size_t place, const char* prefix, size_t number, const Array& array,
                    void* address) const {
  if (request.bound[place] == address) return;
  const Owned<Tensor> tensor = TensorOn(array.type, array.dims, address);
  Check(Library().set_tensor(request.request.get(), (prefix + std::to_string(number)).c_str(), tensor.get()),
        "bind an array");
  request.bound[place] = address;
}

void Compiled::Run(const std::vector<void*>& inputs, const std::vector<void*>& outputs) {
  std::unique_ptr<Request> request = Borrow();
  for (size_t i = 0; i < inputs.size(); ++i) Bind(*request, i, "i", i, recipe_->inputs[i], inputs[i]);
  for (size_t i = 0; i < outputs.size(); ++i)
    Bind(*request, inputs.size() + i, "o", i, recipe_->outputs[i], outputs[i]);
  Check(Library().infer(request->request.get()), "run a model");
  std::lock_guard<std::mutex> lock(mutex_);
  idle_.push_back(std::move(request));
}

}  // namespace collage::openvino
