// One call of cuDNN by XLA: its state, and its three stages.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "../ffi_state.h"
#include "graph.h"

namespace collage::cudnn {

struct State final : FfiState<State> {
  std::string spec, engine;

  // The plan on `device`, built where it is asked for first: in the initialize stage, for nothing may be built or loaded
  // while calls are recorded into a command buffer. It serves every stream.
  Plan& On(int device, int64_t workspace);

 private:
  std::mutex lock_;
  std::map<int, std::unique_ptr<Plan>> plans_;
};

ffi::ErrorOr<std::unique_ptr<State>> Instantiate(std::string_view spec, std::string_view device, int64_t sm,
                                                 std::string_view engine, std::string_view version);
ffi::Error Initialize(int device, State* state, ffi::RemainingArgs arguments, ffi::RemainingRets results,
                      ffi::Dictionary);
ffi::Error Execute(int device, void* stream, State* state, ffi::RemainingArgs arguments, ffi::RemainingRets results,
                   ffi::Dictionary);

}  // namespace collage::cudnn
