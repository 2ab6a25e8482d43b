// collage_jax._program: one XLA FFI target that runs many kernels of other extensions, one after the other.
#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <vector>

#include "../bindings.h"
#include "../huge_pages.h"
#include "program.h"

namespace collage::program {
namespace {

struct State final : Program, FfiState<State> {
  using Program::Program;
};

ffi::ErrorOr<std::unique_ptr<State>> Instantiate(std::string_view spec) {
  return GuardedState<State>([&] { return std::make_unique<State>(spec); });
}

void Check(const std::string& what, size_t given, size_t wanted) {
  if (given < wanted)
    throw TextError(what + " of the program has " + std::to_string(given) + " bytes, its steps need " +
                    std::to_string(wanted));
}

void CheckCount(const char* what, size_t given, size_t wanted) {
  if (given != wanted)
    throw TextError("the program has " + std::to_string(wanted) + " " + what + ", got " + std::to_string(given));
}

ffi::Error Execute(State* program, ffi::RemainingArgs arguments, ffi::RemainingRets results, ffi::Dictionary) {
  return Guarded([&] {
    CheckCount("inputs", arguments.size(), program->input_bytes().size());
    const size_t outputs_made = program->output_bytes().size();
    CheckCount("results", results.size(), outputs_made + (program->is_timed() ? 1 : 0));
    std::vector<const void*> inputs(arguments.size());
    for (size_t i = 0; i < inputs.size(); ++i) {
      const auto buffer = arguments.get<ffi::AnyBuffer>(i).value();
      Check("input " + std::to_string(i), buffer.size_bytes(), program->input_bytes()[i]);
      inputs[i] = buffer.untyped_data();
    }
    std::vector<void*> outputs(outputs_made);
    for (size_t i = 0; i < outputs.size(); ++i) {
      const auto buffer = *results.get<ffi::AnyBuffer>(i).value();
      Check("result " + std::to_string(i), buffer.size_bytes(), program->output_bytes()[i]);
      outputs[i] = buffer.untyped_data();
      PreferHugePages(outputs[i], buffer.size_bytes());
    }
    float* microseconds = nullptr;
    if (program->is_timed()) {
      const auto buffer = *results.get<ffi::AnyBuffer>(outputs_made).value();
      Check("the result for times", buffer.size_bytes(), program->steps() * sizeof(float));
      microseconds = static_cast<float*>(buffer.untyped_data());
    }
    program->Run(inputs, outputs, microseconds);
  });
}

auto InstantiateBinding() { return ffi::Ffi::BindInstantiate().Attr<std::string_view>("spec"); }

XLA_FFI_DEFINE_HANDLER_SYMBOL(kInstantiate, Instantiate, InstantiateBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kExecute, Execute, BindExecute<State>());

}  // namespace

PYBIND11_MODULE(_program, module) {
  module.doc() = "Kernels of other extensions joined into one call behind XLA's foreign function interface";
  module.def("registrations", [] {
    return py::dict(py::arg("collage_program_v1") = TargetStages(kInstantiate, kExecute));
  });
  module.def("type_registrations", [] { return py::dict(py::arg("collage_program_v1") = StateType<State>()); });
  module.def(
      "register_library",
      [](const std::string& library, const py::capsule& maker) {
        if (maker.name() == nullptr || std::string(maker.name()) != kStepMaker)
          throw py::value_error("the steps of " + library + " are of another build");
        RegisterLibrary(library, reinterpret_cast<StepMaker>(maker.get_pointer()));
      },
      py::arg("library"), py::arg("step_maker"));
}

}  // namespace collage::program
