#include "graph.h"

#include <dlfcn.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <unordered_map>

#include "build.h"

// Where cudnn-frontend looks its functions up: nothing here is linked against CUDA.
void* cudnn_frontend::cudnn_dlhandle = nullptr;

namespace collage::cudnn {
namespace {

const std::vector<fe::HeurMode_t> kHeuristics = {fe::HeurMode_t::A, fe::HeurMode_t::FALLBACK};

// Graphs that were looked at for `device`, their engines listed.
Program Judged(std::string_view spec, const Device& device) {
  Program program = Parse(spec, &device);
  for (auto& graph : program.stages) {
    Check(graph->validate());
    Check(graph->build_operation_graph());
    Check(graph->create_execution_plans(kHeuristics));
  }
  return program;
}

// The first `most` engines of one graph that was judged twice: to measure an engine rules it out.
std::vector<Engine> EnginesOf(Graph& graph, Graph& measured, int most) {
  std::vector<Engine> found;
  std::string refused;
  const int64_t count = graph.get_execution_plan_count();
  for (int64_t i = 0; i < count && static_cast<int>(found.size()) < most; ++i) {
    fe::error_t status = graph.CheckEngine(i);
    if (status.is_bad()) {
      refused = status.get_message();
      continue;
    }
    Engine engine;
    Check(graph.get_plan_name_at_index(i, engine.name));
    engine.workspace = measured.MeasureEngine(i);
    found.push_back(std::move(engine));
  }
  if (found.empty()) throw std::runtime_error("cuDNN has no engine for this" + (refused.empty() ? "" : ": " + refused));
  return found;
}

// Builds for `graph` the engine of that name, or else the first that needs no more than `workspace` bytes.
void BuildEngine(Graph& graph, cudnnHandle_t handle, const std::string& engine, int64_t workspace) {
  Check(graph.validate());
  Check(graph.build_operation_graph(handle));
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

// Between the names of the engines of stages.
constexpr char kBetween = ';';

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

std::vector<std::string> Describe(std::string_view spec, const Device& device) {
  std::vector<std::string> texts;
  for (auto& graph : Parse(spec, &device).stages) {
    Check(graph->validate());
    nlohmann::json text;
    graph->serialize(text);
    texts.push_back(text.dump());
  }
  return texts;
}

std::vector<Engine> Engines(std::string_view spec, const Device& device, int most) {
  Program program = Judged(spec, device), measured = Judged(spec, device);
  std::vector<Engine> found;
  for (size_t s = 0; s < program.stages.size(); ++s) {
    const auto engines = EnginesOf(*program.stages[s], *measured.stages[s], most);
    // As many as the stage with the most has: others repeat their last.
    while (found.size() < engines.size()) found.push_back(found.empty() ? Engine() : found.back());
    for (size_t i = 0; i < found.size(); ++i) {
      const Engine& engine = engines[std::min(i, engines.size() - 1)];
      found[i].name += (s > 0 ? std::string(1, kBetween) : "") + engine.name;
      found[i].workspace = std::max(found[i].workspace, engine.workspace);
    }
  }
  for (Engine& engine : found) engine.workspace += program.scratch_bytes;
  return found;
}

void Build(std::string_view spec, const Device& device) {
  for (auto& graph : Judged(spec, device).stages) Check(graph->build_plans());
}

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
  Program program;
};

Plan::Plan(std::string_view spec, const std::string& engine, int64_t workspace, int device)
    : built_(new Built{HandleOf(device), Parse(spec)}) {
  Program& program = built_->program;
  std::lock_guard<std::mutex> lock(built_->handle.mutex);
  std::istringstream names(engine);
  for (auto& graph : program.stages) {
    std::string name;
    std::getline(names, name, kBetween);
    BuildEngine(*graph, built_->handle.handle, name, workspace - program.scratch_bytes);
  }
}

Plan::~Plan() = default;

void Plan::Run(void* stream, const std::vector<void*>& pointers, void* workspace) {
  const Program& program = built_->program;
  if (pointers.size() != program.uids.size())
    throw std::runtime_error("the graph has " + std::to_string(program.uids.size()) + " operands and results, got " +
                             std::to_string(pointers.size()));
  std::unordered_map<int64_t, void*> arrays;
  for (size_t i = 0; i < pointers.size(); ++i) arrays[program.uids[i]] = pointers[i];
  char* const memory = static_cast<char*>(workspace);
  for (const auto& [uid, offset] : program.scratch) arrays[uid] = memory + offset;
  std::lock_guard<std::mutex> lock(built_->handle.mutex);
  if (fe::detail::set_stream(built_->handle.handle, static_cast<cudaStream_t>(stream)) != CUDNN_STATUS_SUCCESS)
    throw std::runtime_error("cuDNN does not take XLA's stream");
  for (const auto& graph : program.stages) {
    std::unordered_map<int64_t, void*> given;
    for (const int64_t uid : graph->uids) given[uid] = arrays.at(uid);
    Check(graph->execute(built_->handle.handle, given, memory + program.scratch_bytes));
  }
}

}  // namespace collage::cudnn
