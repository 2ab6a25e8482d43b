// collage_jax._winograd: one XLA FFI target that runs a convolution or transforms its weights.
#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <vector>

#include "../ffi_state.h"
#include "plan.h"

namespace collage::winograd {
namespace {

// Of the layout of transformed weights and of the spec.
constexpr std::string_view kVersion = "1";

std::unique_ptr<Plan> MakePlan(std::string_view spec, std::string_view version) {
  if (version != kVersion)
    throw SpecError("this program was compiled for version " + std::string(version) +
                    " of the Winograd kernels, loaded is " + std::string(kVersion) + ": compile it again");
  return std::make_unique<Plan>(ParseProblem(spec));
}

std::unique_ptr<Step> MakeStep(std::string_view spec, std::string_view version) { return MakePlan(spec, version); }

ffi::ErrorOr<std::unique_ptr<Plan>> Instantiate(std::string_view spec, std::string_view version) {
  return GuardedState<Plan>([&] { return MakePlan(spec, version); });
}

float* Data(const ffi::AnyBuffer& buffer, const char* what, int64_t elements) {
  if (buffer.element_type() != ffi::DataType::F32) throw SpecError(std::string(what) + " is not float32");
  if (static_cast<int64_t>(buffer.element_count()) != elements)
    throw SpecError(std::string(what) + " has " + std::to_string(buffer.element_count()) + " elements, the spec says " +
                    std::to_string(elements));
  return static_cast<float*>(buffer.untyped_data());
}

ffi::Error Execute(Plan* plan, ffi::RemainingArgs arguments, ffi::RemainingRets results, ffi::Dictionary) {
  return Guarded([&] {
    const auto wanted = plan->Operands();
    if (arguments.size() < wanted.size()) throw SpecError(std::string(wanted[arguments.size()].what) + " is missing");
    if (arguments.size() > wanted.size()) throw SpecError("there are more operands than the spec says");
    if (results.size() != 1) throw SpecError("there is one result");
    std::vector<const void*> operands;
    for (size_t i = 0; i < wanted.size(); ++i)
      operands.push_back(Data(arguments.get<ffi::AnyBuffer>(i).value(), wanted[i].what, wanted[i].elements));
    plan->Run(operands.data(), Data(*results.get<ffi::AnyBuffer>(0).value(), "the result", plan->ResultElements()));
  });
}

auto InstantiateBinding() {
  return ffi::Ffi::BindInstantiate().Attr<std::string_view>("spec").Attr<std::string_view>("version");
}

auto ExecuteBinding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::State<Plan>>()
      .RemainingArgs()
      .RemainingRets()
      .Attrs<ffi::Dictionary>();  // decoded already, but a stage must take all
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(kInstantiate, Instantiate, InstantiateBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kExecute, Execute, ExecuteBinding());

}  // namespace

PYBIND11_MODULE(_winograd, module) {
  module.doc() = "Winograd convolutions behind XLA's foreign function interface";
  module.def("registrations", [] {
    return py::dict(py::arg("collage_winograd_v1") = TargetStages(kInstantiate, kExecute));
  });
  module.def("type_registrations", [] { return py::dict(py::arg("collage_winograd_v1") = StateType<Plan>()); });
  module.def("step_maker", [] { return StepMakerCapsule(&MakeStep); });
  module.def("version", [] { return std::string(kVersion); });
  module.def("instruction_set", &InstructionSet);  // "" if there are no kernels for this processor
  module.def("threads", &Threads);
  // Elements of the transformed kernel; ValueError for a spec that cannot be run.
  module.def("packed_size", [](const std::string& spec) { return ParseProblem(spec).packed_size(); }, py::arg("spec"));
}

}  // namespace collage::winograd
