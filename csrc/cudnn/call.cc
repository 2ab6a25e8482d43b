#include "call.h"

#include <stdexcept>
#include <vector>

namespace collage::cudnn {
namespace {

// The last result is the memory that the engine works in.
int64_t WorkspaceBytes(ffi::RemainingRets& results) {
  auto last = results.get<ffi::AnyBuffer>(results.size() - 1);
  return static_cast<int64_t>((*last)->size_bytes());
}

}  // namespace

Plan& State::On(int device, int64_t workspace) {
  std::lock_guard<std::mutex> lock(lock_);
  std::unique_ptr<Plan>& plan = plans_[device];
  if (!plan) plan = std::make_unique<Plan>(spec, engine, workspace, device);
  return *plan;
}

ffi::ErrorOr<std::unique_ptr<State>> Instantiate(std::string_view spec, std::string_view device, int64_t sm,
                                                 std::string_view engine, std::string_view version) {
  return GuardedState<State>([&] {
    if (version != std::to_string(Version()))
      throw std::runtime_error("the program was made for cuDNN " + std::string(version) + " and this is " +
                               std::to_string(Version()) + ": compile it anew");
    const auto engines = Engines(spec, Device{std::string(device), static_cast<int>(sm)}, 1);
    auto state = std::make_unique<State>();
    state->spec = spec;
    state->engine = engine.empty() ? engines.front().name : std::string(engine);
    return state;
  });
}

ffi::Error Initialize(int device, State* state, ffi::RemainingArgs, ffi::RemainingRets results, ffi::Dictionary) {
  return Guarded([&] { state->On(device, WorkspaceBytes(results)); });
}

ffi::Error Execute(int device, void* stream, State* state, ffi::RemainingArgs arguments, ffi::RemainingRets results,
                   ffi::Dictionary) {
  return Guarded([&] {
    std::vector<void*> pointers;
    for (size_t i = 0; i < arguments.size(); ++i) pointers.push_back(arguments.get<ffi::AnyBuffer>(i)->untyped_data());
    for (size_t i = 0; i < results.size(); ++i) pointers.push_back((*results.get<ffi::AnyBuffer>(i))->untyped_data());
    void* workspace = pointers.back();
    pointers.pop_back();
    state->On(device, WorkspaceBytes(results)).Run(stream, pointers, workspace);
  });
}

}  // namespace collage::cudnn
