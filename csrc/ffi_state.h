// What every native module needs to be an XLA FFI library: a state type, and no exception that gets out.
#pragma once

#include <pybind11/pybind11.h>

#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "xla/ffi/api/ffi.h"

namespace collage {

namespace ffi = xla::ffi;
namespace py = pybind11;

// `T` becomes what the instantiate stage returns and the execute stage reads: `struct Plan : FfiState<Plan>`.
template <typename T>
struct FfiState {
  inline static ffi::TypeId id = {};
  inline static ffi::TypeInfo* info() {
    static ffi::TypeInfo value = ffi::MakeTypeInfo<T>();
    return &value;
  }
};

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

// The two dictionaries that `jax.ffi.register_ffi_target` and `jax.ffi.register_ffi_type` take.
inline py::dict TargetStages(XLA_FFI_Handler* instantiate, XLA_FFI_Handler* execute) {
  return py::dict(py::arg("instantiate") = py::capsule(reinterpret_cast<void*>(instantiate)),
                  py::arg("execute") = py::capsule(reinterpret_cast<void*>(execute)));
}

template <typename T>
py::dict StateType() {
  return py::dict(py::arg("type_id") = py::capsule(static_cast<void*>(&T::id)),
                  py::arg("type_info") = py::capsule(static_cast<void*>(T::info())));
}

}  // namespace collage
