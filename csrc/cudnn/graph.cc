#include "graph.h"

#include <dlfcn.h>

#include <map>
#include <mutex>
#include <stdexcept>
#include <unordered_map>

#include "build.h"

// Where cudnn-frontend looks its functions up: nothing here is linked against CUDA.
void* cudnn_frontend::cudnn_dlhandle = nullptr;

namespace collage::cudnn {
namespace {

const std::vector<fe::HeurMode_t> kHeuristics = {fe::HeurMode_t::A, fe::HeurMode_t::FALLBACK};

// A graph that was looked at for `device`, its engines listed.
std::unique_ptr<Graph> Judged(std::string_view spec, const Device& device) {
  auto graph = Parse(spec, &device);
  Check(graph->validate());
  Check(graph->build_operation_graph());
  Check(graph->create_execution_plans(kHeuristics));
  return graph;
}

}  // namespace

void Open(const std::string& path) {
  if (fe::cudnn_dlhandle == nullptr) fe::cudnn_dlhandle = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (fe::cudnn_dlhandle == nullptr) throw std::runtime_error(dlerror());
}

int64_t Version() { return static_cast<int64_t>(fe::detail::get_backend_version()); }

std::string PropertiesOf(int ordinal) {
  fe::DeviceProperties properties;
  properties.set_device_id(ordinal);
  Check(properties.build());
  std::vector<uint8_t> bytes;
  Check(properties.serialize(bytes));
  return std::string(bytes.begin(), bytes.end());
}

std::string Describe(std::string_view spec, const Device& device) {
  auto graph = Parse(spec, &device);
  Check(graph->validate());
  nlohmann::json text;
  graph->serialize(text);
  return text.dump();
}

std::vector<Engine> Engines(std::string_view spec, const Device& device, int most) {
  auto graph = Judged(spec, device), measured = Judged(spec, device);
  std::vector<Engine> found;
  std::string refused;
  const int64_t count = graph->get_execution_plan_count();
  for (int64_t i = 0; i < count && static_cast<int>(found.size()) < most; ++i) {
    fe::error_t status = graph->CheckEngine(i);
    if (status.is_bad()) {
      refused = status.get_message();
      continue;
    }
    Engine engine;
    Check(graph->get_plan_name_at_index(i, engine.name));
    engine.workspace = measured->MeasureEngine(i);
    found.push_back(std::move(engine));
  }
  if (found.empty()) throw std::runtime_error("cuDNN has no engine for this" + (refused.empty() ? "" : ": " + refused));
  return found;
}

void Build(std::string_view spec, const Device& device) { Check(Judged(spec, device)->build_plans()); }

// Never destroyed: at the end of the process the driver may be gone already.
struct Handle {
  cudnnHandle_t handle = nullptr;
  std::mutex mutex;
};

Handle& HandleOf(int device) {
  static std::mutex mutex;
  static auto& handles = *new std::map<int, Handle>;
  std::lock_guard<std::mutex> lock(mutex);
  Handle& found = handles[device];
  if (found.handle == nullptr) {
    const auto status = fe::detail::create_handle(&found.handle);
    if (status != CUDNN_STATUS_SUCCESS)
      throw std::runtime_error(std::string("cuDNN cannot be used here: ") + fe::detail::get_error_string(status));
  }
  return found;
}

struct Plan::Built {
  Handle& handle;
  std::unique_ptr<Graph> graph;
};

Plan::Plan(std::string_view spec, const std::string& engine, int64_t workspace, int device)
    : built_(new Built{HandleOf(device), Parse(spec)}) {
  Graph& graph = *built_->graph;
  std::lock_guard<std::mutex> lock(built_->handle.mutex);
  Check(graph.validate());
  Check(graph.build_operation_graph(built_->handle.handle));
  Check(graph.create_execution_plans(kHeuristics));
  graph.deselect_workspace_greater_than(workspace);
  const int64_t count = graph.get_execution_plan_count();
  int64_t chosen = -1;
  for (int64_t i = 0; i < count; ++i) {
    std::string name;
    if (graph.CheckEngine(i).is_bad() || graph.get_plan_name_at_index(i, name).is_bad()) continue;
    if (chosen < 0 || name == engine) chosen = i;
    if (name == engine) break;
  }
  if (chosen < 0)
    throw std::runtime_error("cuDNN has no engine for this that needs at most " + std::to_string(workspace) + " bytes");
  Check(graph.build_plan_at_index(chosen));
}

Plan::~Plan() = default;

void Plan::Run(void* stream, const std::vector<void*>& pointers, void* workspace) {
  const std::vector<int64_t>& uids = built_->graph->uids;
  if (pointers.size() != uids.size())
    throw std::runtime_error("the graph has " + std::to_string(uids.size()) + " operands and results, got " +
                             std::to_string(pointers.size()));
  std::unordered_map<int64_t, void*> arrays;
  for (size_t i = 0; i < pointers.size(); ++i) arrays[uids[i]] = pointers[i];
  std::lock_guard<std::mutex> lock(built_->handle.mutex);
  if (fe::detail::set_stream(built_->handle.handle, static_cast<cudaStream_t>(stream)) != CUDNN_STATUS_SUCCESS)
    throw std::runtime_error("cuDNN does not take XLA's stream");
  Check(built_->graph->execute(built_->handle.handle, arrays, workspace));
}

}  // namespace collage::cudnn
