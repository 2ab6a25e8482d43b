// collage_jax._onednn: one XLA FFI target that runs any spec, and questions to the library.
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "../ffi_state.h"
#include "library.h"
#include "plan.h"
#include "query.h"
#include "stream.h"

namespace collage::onednn {
namespace {

ffi::ErrorOr<std::unique_ptr<Plan>> Instantiate(std::string_view spec, std::string_view library) {
  return GuardedState<Plan>([&] {
    if (library != LibraryVersion())
      throw SpecError("this program was compiled for oneDNN " + std::string(library) + ", loaded is " +
                      LibraryVersion() + ": compile it again");
    try {
      return std::make_unique<Plan>(MakeRecipe(spec));
    } catch (const dnnl::error& error) {
      throw std::runtime_error(Explain(Spec(spec).op(), error));
    }
  });
}

ffi::Error Run(const Plan& plan, const Pool& pool, ffi::RemainingArgs arguments, ffi::RemainingRets results) {
  return Guarded([&] {
    thread_local std::vector<ffi::AnyBuffer> operands;  // keeps its memory from call to call
    operands.clear();
    for (size_t i = 0; i < arguments.size(); ++i) operands.push_back(arguments.get<ffi::AnyBuffer>(i).value());
    if (results.size() != 1) throw SpecError("oneDNN op=" + plan.op() + ": there is one result");
    const ffi::AnyBuffer result = *results.get<ffi::AnyBuffer>(0).value();
    plan.Check(operands, result);
    try {
      plan.Run(operands, result, Stream(pool, plan.threads()).get());
    } catch (const dnnl::error& error) {
      throw std::runtime_error(Explain(plan.op(), error));
    }
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
#endif

auto InstantiateBinding() {
  return ffi::Ffi::BindInstantiate().Attr<std::string_view>("spec").Attr<std::string_view>("library");
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
  module.def("version", &LibraryVersion);
  module.def("threads", &Threads);
  module.def("query", &QueryDict, py::arg("spec"));
}

}  // namespace collage::onednn
