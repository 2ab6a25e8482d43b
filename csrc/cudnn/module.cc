// collage_jax._cudnn: one XLA FFI target that runs any graph of operations that cuDNN can fuse.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "../bindings.h"
#include "call.h"
#include "graph.h"

namespace collage::cudnn {
namespace {

auto InstantiateBinding() {
  return ffi::Ffi::BindInstantiate()
      .Attr<std::string_view>("spec")
      .Attr<std::string_view>("device")
      .Attr<int64_t>("sm")
      .Attr<std::string_view>("engine")
      .Attr<std::string_view>("version");
}

auto InitializeBinding() {
  return ffi::Ffi::BindInitialize()
      .Ctx<ffi::DeviceOrdinal>()
      .Ctx<ffi::State<State>>()
      .RemainingArgs()
      .RemainingRets()
      .Attrs<ffi::Dictionary>();
}

auto ExecuteBinding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::DeviceOrdinal>()
      .Ctx<ffi::PlatformStream<void*>>()
      .Ctx<ffi::State<State>>()
      .RemainingArgs()
      .RemainingRets()
      .Attrs<ffi::Dictionary>();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(kInstantiate, Instantiate, InstantiateBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kInitialize, Initialize, InitializeBinding());
// Everything is loaded before: what runs can be recorded into a command buffer and played again.
XLA_FFI_DEFINE_HANDLER_SYMBOL(kExecute, Execute, ExecuteBinding(), {ffi::Traits::kCmdBufferCompatible});

py::list EnginesFor(const std::string& spec, const std::string& properties, int sm, int most) {
  std::vector<Engine> engines;
  {
    py::gil_scoped_release release;
    engines = Engines(spec, Device{properties, sm}, most);
  }
  py::list found;
  for (const Engine& engine : engines) found.append(py::make_tuple(engine.name, engine.workspace));
  return found;
}

}  // namespace

PYBIND11_MODULE(_cudnn, module) {
  module.doc() = "cuDNN's graphs behind XLA's foreign function interface";
  module.def("open", &Open, py::arg("path"));
  module.def("version", &Version, "cuDNN's version as it counts them: 92800 for 9.28.0.");
  module.def("properties_of", &PropertiesOf, py::arg("ordinal"), "Properties of a GPU that is here, as JSON.");
  module.def(
      "describe",
      [](const std::string& spec, const std::string& properties, int sm) { return Describe(spec, {properties, sm}); },
      py::arg("spec"), py::arg("properties"), py::arg("sm"), "Each graph in cudnn-frontend's own JSON.");
  module.def("engines", &EnginesFor, py::arg("spec"), py::arg("properties"), py::arg("sm"), py::arg("most") = 1,
             "Names and workspaces in bytes of the engines for a graph on a device; ValueError where there is none.");
  module.def(
      "build", [](const std::string& spec, const std::string& properties, int sm) { Build(spec, Device{properties, sm}); },
      py::arg("spec"), py::arg("properties"), py::arg("sm"), "Builds a plan; without a driver for kernels cuDNN ships.");
  module.def("registrations", [] {
    py::dict stages = TargetStages(kInstantiate, kExecute);
    stages["initialize"] = py::capsule(reinterpret_cast<void*>(kInitialize));
    return py::dict(py::arg("collage_cudnn_v1") = stages);
  });
  module.def("type_registrations", [] { return py::dict(py::arg("collage_cudnn_v1") = StateType<State>()); });
  py::register_local_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const std::runtime_error& error) {
      py::set_error(PyExc_ValueError, error.what());
    }
  });
}

}  // namespace collage::cudnn
