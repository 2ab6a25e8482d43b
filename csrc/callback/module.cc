// collage_jax._callback: one XLA FFI target that calls Python functions on NumPy views of a program's arrays.
#include <pybind11/pybind11.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include "../bindings.h"
#include "call.h"
#include "views.h"

namespace collage::callback {
namespace {

struct State final : PythonTarget, FfiState<State> {};

ffi::ErrorOr<std::unique_ptr<State>> Instantiate(std::string_view function) {
  return GuardedState<State>([&] {
    auto state = std::make_unique<State>();
    state->name = function;
    state->function = FindPython(function);
    if (!state->function)
      throw std::invalid_argument("no Python function called `" + state->name + "` is registered in this process: " +
                                  "import the module that registers it before the program runs");
    return state;
  });
}

ffi::Error Execute(State* state, ffi::RemainingArgs arguments, ffi::RemainingRets results, ffi::Dictionary) {
  return Call(*state, arguments, results);
}

auto InstantiateBinding() { return ffi::Ffi::BindInstantiate().Attr<std::string_view>("function"); }

XLA_FFI_DEFINE_HANDLER_SYMBOL(kInstantiate, Instantiate, InstantiateBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kExecute, Execute, BindExecute<State>());

}  // namespace

PYBIND11_MODULE(_callback, module) {
  module.doc() = "Python functions behind XLA's foreign function interface, on NumPy views of XLA's own memory";
  LoadDtypes();
  module.def("registrations", [] {
    return py::dict(py::arg("collage_callback_v1") = TargetStages(kInstantiate, kExecute));
  });
  module.def("type_registrations", [] { return py::dict(py::arg("collage_callback_v1") = StateType<State>()); });
  module.def("close", &ClosePython, "Refuses all calls from now on; the number of those still running.");
  module.def("dtypes", &DtypeNames, "Names of the dtypes that functions can be called on.");
  module.def(
      "register_function",
      [](const std::string& name, const py::function& function) {
        ReleaseDropped();
        RegisterPython(name, function.ptr());
      },
      py::arg("name"), py::arg("function"), "Programs compiled from now on find `function` under `name`.");
}

}  // namespace collage::callback
