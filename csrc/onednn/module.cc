// collage_jax._onednn: one XLA FFI target that runs any spec, and questions to the library.
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "../bindings.h"
#include "../huge_pages.h"
#include "library.h"
#include "plan.h"
#include "query.h"
#include "stream.h"

namespace collage::onednn {
namespace {

std::unique_ptr<Plan> MakePlan(std::string_view spec, std::string_view version) {
  if (version != LibraryVersion())
    throw SpecError("this program was compiled for oneDNN " + std::string(version) + ", loaded is " +
                    LibraryVersion() + ": compile it again");
  try {
    return std::make_unique<Plan>(MakeRecipe(spec));
  } catch (const dnnl::error& error) {
    throw std::runtime_error(Explain(Spec(spec).op(), error));
  }
}

ffi::ErrorOr<std::unique_ptr<Plan>> Instantiate(std::string_view spec, std::string_view version) {
  return GuardedState<Plan>([&] { return MakePlan(spec, version); });
}

void RunPlan(const Plan& plan, const void* const* operands, void* result, const Pool& pool) {
  try {
    plan.Run(operands, result, Stream(pool, plan.threads()).get());
  } catch (const dnnl::error& error) {
    throw std::runtime_error(Explain(plan.op(), error));
  }
}

ffi::Error Run(const Plan& plan, const Pool& pool, ffi::RemainingArgs arguments, ffi::RemainingRets results) {
  return Guarded([&] {
    thread_local std::vector<ffi::AnyBuffer> operands;  // keeps its memory from call to call
    operands.clear();
    for (size_t i = 0; i < arguments.size(); ++i) operands.push_back(arguments.get<ffi::AnyBuffer>(i).value());
    if (results.size() != 1) throw SpecError("oneDNN op=" + plan.op() + ": there is one result");
    const ffi::AnyBuffer result = *results.get<ffi::AnyBuffer>(0).value();
    plan.Check(operands, result);
    thread_local std::vector<const void*> addresses;
    addresses.clear();
    for (const ffi::AnyBuffer& operand : operands) addresses.push_back(operand.untyped_data());
    PreferHugePages(result.untyped_data(), result.size_bytes());
    RunPlan(plan, addresses.data(), result.untyped_data(), pool);
  });
}

#if DNNL_CPU_RUNTIME == DNNL_RUNTIME_THREADPOOL
ffi::Error Execute(ffi::ThreadPool pool, Plan* plan, ffi::RemainingArgs arguments, ffi::RemainingRets results,
                   ffi::Dictionary) {
  return Run(*plan, pool, arguments, results);
}
#else
ffi::Error Execute(Plan* plan, ffi::RemainingArgs arguments, ffi::RemainingRets results, ffi::Dictionary) {
  return Run(*plan, {}, arguments, results);
}

// Without a pool of the caller's, a plan can run anywhere.
class PlanStep : public Step {
 public:
  explicit PlanStep(std::unique_ptr<Plan> plan) : plan_(std::move(plan)) {}
  std::vector<size_t> OperandBytes() const override { return plan_->OperandBytes(); }
  size_t ResultBytes() const override { return plan_->ResultBytes(); }
  void Run(const void* const* operands, void* result) const override { RunPlan(*plan_, operands, result, {}); }

 private:
  std::unique_ptr<Plan> plan_;
};

std::unique_ptr<Step> MakeStep(std::string_view spec, std::string_view version) {
  return std::make_unique<PlanStep>(MakePlan(spec, version));
}
#endif

auto InstantiateBinding() {
  return ffi::Ffi::BindInstantiate().Attr<std::string_view>("spec").Attr<std::string_view>("version");
}

auto ExecuteBinding() {
  return ffi::Ffi::Bind()
#if DNNL_CPU_RUNTIME == DNNL_RUNTIME_THREADPOOL
      .Ctx<ffi::ThreadPool>()
#endif
      .Ctx<ffi::State<Plan>>()
      .RemainingArgs()
      .RemainingRets()
      .Attrs<ffi::Dictionary>();  // decoded already, but a stage must take all
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(kInstantiate, Instantiate, InstantiateBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kExecute, Execute, ExecuteBinding());

py::dict QueryDict(const std::string& spec) {
  Answer answer;
  {
    py::gil_scoped_release release;
    answer = Query(spec);
  }
  if (!answer.error.empty()) throw py::value_error(answer.error);
  return py::dict(py::arg("impl") = answer.impl, py::arg("packed_bytes") = answer.packed_bytes,
                  py::arg("weights_plain") = answer.weights_plain,
                  py::arg("scratchpad_bytes") = answer.scratchpad_bytes);
}

}  // namespace

PYBIND11_MODULE(_onednn, module) {
  if (const std::string mismatch = Mismatch(); !mismatch.empty()) throw py::import_error(mismatch);
  module.doc() = "oneDNN behind XLA's foreign function interface";
  module.def("registrations", [] {
    return py::dict(py::arg("collage_onednn_v1") = TargetStages(kInstantiate, kExecute));
  });
  module.def("type_registrations", [] { return py::dict(py::arg("collage_onednn_v1") = StateType<Plan>()); });
#if DNNL_CPU_RUNTIME != DNNL_RUNTIME_THREADPOOL
  module.def("step_maker", [] { return StepMakerCapsule(&MakeStep); });
#endif
  module.def("version", &LibraryVersion);
  module.def("threads", &Threads);
  module.def("query", &QueryDict, py::arg("spec"));
}

}  // namespace collage::onednn
