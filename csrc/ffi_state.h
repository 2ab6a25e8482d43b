// What every native module needs to be an XLA FFI library: a state type, and no exception that gets out.
#pragma once

#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "xla/ffi/api/ffi.h"

namespace collage {

namespace ffi = xla::ffi;

// `T` becomes what the instantiate stage returns and the execute stage reads: `struct State : Plan, FfiState<State>`.
// XLA numbers such types anew for each platform and keeps the number in `id`, so that a type serves one platform only: for
// two of them, the state of one would be destroyed as something else.
template <typename T>
struct FfiState {
  inline static ffi::TypeId id = {};
  inline static ffi::TypeInfo* info() {
    static ffi::TypeInfo value = ffi::MakeTypeInfo<T>();
    return &value;
  }
};

// What an execute stage takes: what the instantiate stage returned, and any arrays.
template <typename T>
auto BindExecute() {
  return ffi::Ffi::Bind()
      .template Ctx<ffi::State<T>>()
      .RemainingArgs()
      .RemainingRets()
      .template Attrs<ffi::Dictionary>();  // decoded already, but a stage must take all
}

// An exception must not unwind into XLA, which is built without them: it becomes an error of the running program.
template <typename Function>
ffi::Error Guarded(Function&& function) {
  try {
    std::forward<Function>(function)();
    return ffi::Error::Success();
  } catch (const std::exception& error) {
    return ffi::Error(ffi::ErrorCode::kInvalidArgument, error.what());
  } catch (...) {
    return ffi::Error(ffi::ErrorCode::kInternal, "an unknown C++ exception");
  }
}

template <typename T, typename Function>
ffi::ErrorOr<std::unique_ptr<T>> GuardedState(Function&& function) {
  std::unique_ptr<T> state;
  ffi::Error error = Guarded([&] { state = std::forward<Function>(function)(); });
  if (error.failure()) return ffi::Unexpected(std::move(error));
  return state;
}

}  // namespace collage
