// collage_jax._sgemm: one XLA FFI target that runs a matrix product or packs its weights.
#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <vector>

#include "../ffi_state.h"
#include "plan.h"

namespace collage::sgemm {
namespace {

// Of the layout of packed weights and of the spec.
constexpr std::string_view kVersion = "1";

std::unique_ptr<Plan> MakePlan(std::string_view spec, std::string_view version) {
  if (version != kVersion)
    throw SpecError("this program was compiled for version " + std::string(version) +
                    " of the product's kernels, loaded is " + std::string(kVersion) + ": compile it again");
  return std::make_unique<Plan>(ParseProblem(spec));
}

std::unique_ptr<Step> MakeStep(std::string_view spec, std::string_view version) { return MakePlan(spec, version); }

ffi::ErrorOr<std::unique_ptr<Plan>> Instantiate(std::string_view spec, std::string_view version) {
  return GuardedState<Plan>([&] { return MakePlan(spec, version); });
}

void* Data(const ffi::AnyBuffer& buffer, const std::string& what, size_t bytes) {
  if (buffer.element_type() != ffi::DataType::F32) throw SpecError(what + " is not float32");
  if (buffer.size_bytes() != bytes)
    throw SpecError(what + " has " + std::to_string(buffer.element_count()) + " elements, the spec says " +
                    std::to_string(bytes / sizeof(float)));
  return buffer.untyped_data();
}

ffi::Error Execute(Plan* plan, ffi::RemainingArgs arguments, ffi::RemainingRets results, ffi::Dictionary) {
  return Guarded([&] {
    const std::vector<size_t> bytes = plan->OperandBytes();
    if (arguments.size() != bytes.size())
      throw SpecError("the spec says " + std::to_string(bytes.size()) + " operands, there are " +
                      std::to_string(arguments.size()));
    if (results.size() != 1) throw SpecError("there is one result");
    std::vector<const void*> operands;
    for (size_t i = 0; i < bytes.size(); ++i)
      operands.push_back(
          Data(arguments.get<ffi::AnyBuffer>(i).value(), "operand " + std::to_string(i), bytes[i]));
    plan->Run(operands.data(), Data(*results.get<ffi::AnyBuffer>(0).value(), "the result", plan->ResultBytes()));
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

PYBIND11_MODULE(_sgemm, module) {
  module.doc() = "matrix products behind XLA's foreign function interface";
  module.def("registrations", [] {
    return py::dict(py::arg("collage_sgemm_v1") = TargetStages(kInstantiate, kExecute));
  });
  module.def("type_registrations", [] { return py::dict(py::arg("collage_sgemm_v1") = StateType<Plan>()); });
  module.def("version", [] { return std::string(kVersion); });
  module.def("instruction_set", &InstructionSet);  // "" if there are no kernels for this processor
  module.def("threads", &Threads);
  module.def("step_maker", [] { return StepMakerCapsule(&MakeStep); });
  // Elements of the packed weights; ValueError for a spec that cannot be run.
  module.def("packed_size", [](const std::string& spec) { return ParseProblem(spec).packed_size(); }, py::arg("spec"));
}

}  // namespace collage::sgemm
