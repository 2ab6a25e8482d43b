// The stages of collage_jax._cudnn on the CPU, with a recording stand-in for cuDNN: a plan that adds its operands.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <mutex>
#include <stdexcept>

#include "../../csrc/bindings.h"
#include "../../csrc/cudnn/call.h"

namespace collage::cudnn {
namespace {

std::mutex lock;
std::vector<std::string> events;

void Record(const std::string& event) {
  std::lock_guard<std::mutex> guard(lock);
  events.push_back(event);
}

}  // namespace

int64_t Version() { return 91100; }

std::vector<Engine> Engines(std::string_view spec, const Device& device, int) {
  if (device.sm < 80) throw std::runtime_error("no engine for sm_" + std::to_string(device.sm));
  return {Engine{"first for " + std::string(spec), 64}};
}

struct Plan::Built {
  int64_t workspace;
};

Plan::Plan(std::string_view spec, const std::string& engine, int64_t workspace, int device)
    : built_(new Built{workspace}) {
  Record("plan " + std::string(spec) + " on " + engine + " in " + std::to_string(workspace) + " of device " +
         std::to_string(device));
}

Plan::~Plan() = default;

void Plan::Run(void* stream, const std::vector<void*>& pointers, void* workspace) {
  // Numbers that the test put there: four in each array.
  float* result = static_cast<float*>(pointers.back());
  for (int i = 0; i < 4; ++i) {
    result[i] = 0;
    for (size_t p = 0; p + 1 < pointers.size(); ++p) result[i] = 2 * result[i] + static_cast<float*>(pointers[p])[i];
  }
  for (int64_t i = 0; i < built_->workspace; ++i) static_cast<char*>(workspace)[i] = 1;  // it is ours to write to
  Record("run of " + std::to_string(pointers.size()) + " on stream " + std::to_string(reinterpret_cast<size_t>(stream)));
}

namespace {

constexpr int kStreams = 2;  // calls take turns between as many, on device 3

ffi::Error Prepare(State* state, ffi::RemainingArgs arguments, ffi::RemainingRets results, ffi::Dictionary attributes) {
  ffi::Error error = Initialize(3, state, arguments, results, attributes);
  if (error.failure()) return error;
  static int calls = 0;
  void* stream = reinterpret_cast<void*>(static_cast<size_t>(calls++ % kStreams + 1));
  return Execute(3, stream, state, arguments, results, attributes);
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(kInstantiate, Instantiate,
                              ffi::Ffi::BindInstantiate()
                                  .Attr<std::string_view>("spec")
                                  .Attr<std::string_view>("device")
                                  .Attr<int64_t>("sm")
                                  .Attr<std::string_view>("engine")
                                  .Attr<std::string_view>("version"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(kExecute, Prepare, BindExecute<State>());

}  // namespace

PYBIND11_MODULE(cudnn_call, module) {
  module.def("registrations",
             [] { return py::dict(py::arg("cudnn_call_on_host") = TargetStages(kInstantiate, kExecute)); });
  module.def("type_registrations", [] { return py::dict(py::arg("cudnn_call_on_host") = StateType<State>()); });
  module.def("events", [] { return std::exchange(events, {}); });
}

}  // namespace collage::cudnn
