// What our own libraries of kernels have in common: one XLA FFI target that runs any spec on float32 arrays,
// and the same kernels as steps of programs.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "../bindings.h"
#include "../huge_pages.h"
#include "../tokens.h"
#include "offers.h"

namespace collage {

// `Plan` is a Step made of a spec; `Plan::kVersion` names the layout of its packed weights and of its specs.
template <typename Plan>
struct KernelModule {
  struct State final : Plan, FfiState<State> {
    using Plan::Plan;
  };

  static std::unique_ptr<State> Make(std::string_view spec, std::string_view version) {
    if (version != Plan::kVersion)
      throw SpecError("this program was compiled for version " + std::string(version) + " of the kernels, loaded is " +
                      std::string(Plan::kVersion) + ": compile it again");
    return std::make_unique<State>(spec);
  }

  static std::unique_ptr<Step> MakeStep(std::string_view spec, std::string_view version) { return Make(spec, version); }

  static ffi::ErrorOr<std::unique_ptr<State>> Instantiate(std::string_view spec, std::string_view version) {
    return GuardedState<State>([&] { return Make(spec, version); });
  }

  static void* Data(const ffi::AnyBuffer& buffer, const std::string& what, size_t bytes) {
    if (buffer.element_type() != ffi::DataType::F32) throw SpecError(what + " is not float32");
    if (buffer.size_bytes() != bytes)
      throw SpecError(what + " has " + std::to_string(buffer.element_count()) + " elements, the spec says " +
                      std::to_string(bytes / sizeof(float)));
    return buffer.untyped_data();
  }

  static ffi::Error Execute(State* plan, ffi::RemainingArgs arguments, ffi::RemainingRets results, ffi::Dictionary) {
    return Guarded([&] {
      const std::vector<size_t> bytes = plan->OperandBytes();
      if (arguments.size() != bytes.size())
        throw SpecError("the spec says " + std::to_string(bytes.size()) + " operands, there are " +
                        std::to_string(arguments.size()));
      if (results.size() != 1) throw SpecError("there is one result");
      std::vector<const void*> operands;
      for (size_t i = 0; i < bytes.size(); ++i)
        operands.push_back(Data(arguments.get<ffi::AnyBuffer>(i).value(), "operand " + std::to_string(i), bytes[i]));
      void* result = Data(*results.get<ffi::AnyBuffer>(0).value(), "the result", plan->ResultBytes());
      PreferHugePages(result, plan->ResultBytes());
      plan->Run(operands.data(), result);
    });
  }

  static XLA_FFI_Error* InstantiateHandler(XLA_FFI_CallFrame* frame) {
    static auto* handler = ffi::Ffi::BindInstantiate()
                               .Attr<std::string_view>("spec")
                               .Attr<std::string_view>("version")
                               .To(Instantiate)
                               .release();
    return handler->Call(frame);
  }

  static XLA_FFI_Error* ExecuteHandler(XLA_FFI_CallFrame* frame) {
    static auto* handler = BindExecute<State>().To(Execute).release();
    return handler->Call(frame);
  }

  // `instruction_set` gives the best kernels for this processor, "" if it has none.
  static void Define(py::module_ module, const char* target, std::string (*instruction_set)()) {
    module.def("registrations", [target] {
      py::dict stages;
      stages[target] = TargetStages(InstantiateHandler, ExecuteHandler);
      return stages;
    });
    module.def("type_registrations", [target] {
      py::dict types;
      types[target] = StateType<State>();
      return types;
    });
    module.def("version", [] { return std::string(Plan::kVersion); });
    module.def("instruction_set", instruction_set);
    module.def("threads", Threads);
    module.def("step_maker", [] { return StepMakerCapsule(&MakeStep); });
    // Elements of the packed weights; ValueError for a spec that cannot be run.
    module.def("packed_size", [](const std::string& spec) { return Plan(spec).problem().packed_size(); },
               py::arg("spec"));
  }
};

}  // namespace collage
