// What a native module shows to Python. For each extension's module.cc alone: these headers take longer to compile than
// all the rest of it.
#pragma once

#include <pybind11/pybind11.h>

#include "ffi_state.h"
#include "step.h"

namespace collage {

namespace py = pybind11;

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

inline py::capsule StepMakerCapsule(StepMaker maker) {
  return py::capsule(reinterpret_cast<const void*>(maker), kStepMaker);
}

}  // namespace collage
