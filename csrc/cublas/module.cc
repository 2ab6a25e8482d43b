// collage_jax._cublas: one XLA FFI target that runs a product of matrices by cuBLASLt.
#include <pybind11/pybind11.h>

#include <memory>
#include <string>

#include "../bindings.h"
#include "../tokens.h"
#include "matmul.h"

namespace collage::cublas {
namespace {

constexpr int kHost = 0;  // stands for the device where there is none

// The same for two platforms, each of which numbers its types.
struct OnDevice : Matmul, FfiState<OnDevice> {
  using Matmul::Matmul;
};
struct OnHost : Matmul, FfiState<OnHost> {
  using Matmul::Matmul;
};

template <typename State>
ffi::ErrorOr<std::unique_ptr<State>> Instantiate(std::string_view spec, std::string_view version) {
  return GuardedState<State>([&] {
    const Library& library = Opened();
    // Another version has other algorithms, and was not what was timed.
    if (version != library.version())
      throw SpecError("this program was compiled for cuBLASLt " + std::string(version) + ", loaded is " +
                      library.version() + ": compile it again");
    return std::make_unique<State>(library, MakeRecipe(spec));
  });
}

void* Address(const ffi::AnyBuffer& buffer, size_t bytes, const char* name) {
  if (buffer.size_bytes() != bytes)
    throw SpecError(std::string(name) + " has " + std::to_string(buffer.size_bytes()) + " bytes, the product takes " +
                    std::to_string(bytes));
  return buffer.untyped_data();
}

// Operands a, b, c if anything is added, the bias if there is one, aux if it is read; results d, the bias's gradient if
// that is asked for, aux if it is made, and the workspace with room for its alignment.
Addresses AddressesOf(const Recipe& recipe, const ffi::RemainingArgs& arguments, const ffi::RemainingRets& results) {
  const bool adds = recipe.beta != 0;
  const bool makes_aux = recipe.makes_aux(), reads_aux = recipe.has_aux() && !makes_aux;
  if (arguments.size() != size_t{2} + adds + recipe.has_bias() + reads_aux ||
      results.size() != size_t{2} + recipe.has_gradient() + makes_aux)
    throw SpecError("the product has another number of operands or results");
  size_t next = 0, made = 0;
  const auto operand = [&](DataType type, int64_t elements, const char* name) {
    return Address(arguments.get<ffi::AnyBuffer>(next++).value(), ElementBytes(type) * elements, name);
  };
  const auto result = [&](int64_t elements, const char* name) {
    return Address(*results.get<ffi::AnyBuffer>(made++).value(), ElementBytes(recipe.result) * elements, name);
  };
  Addresses found = {};
  found.a = operand(recipe.operand, recipe.a.elements(recipe.batch), "operand a");
  found.b = operand(recipe.operand, recipe.b.elements(recipe.batch), "operand b");
  const int64_t elements = recipe.d.elements(recipe.batch);
  if (adds) found.c = operand(recipe.result, elements, "operand c");
  if (recipe.has_bias()) found.vector = operand(recipe.result, recipe.m, "the bias");
  if (reads_aux) found.aux = Address(arguments.get<ffi::AnyBuffer>(next++).value(), recipe.aux_bytes(), "operand aux");
  found.d = result(elements, "result d");
  if (recipe.has_gradient())
    found.vector = result(recipe.epilogue == kBiasGradientB ? recipe.n : recipe.m, "the bias's gradient");
  if (makes_aux) found.aux = Address(*results.get<ffi::AnyBuffer>(made++).value(), recipe.aux_bytes(), "result aux");
  void* const given = Address(*results.get<ffi::AnyBuffer>(made).value(), recipe.workspace + kWorkspaceAlignment,
                              "the workspace");
  std::byte* const workspace = static_cast<std::byte*>(given);
  found.workspace = workspace + (-reinterpret_cast<uintptr_t>(workspace) & (kWorkspaceAlignment - 1));
  return found;
}

ffi::Error Run(Matmul& matmul, int device, void* stream, const ffi::RemainingArgs& arguments,
               const ffi::RemainingRets& results) {
  return Guarded([&] { matmul.Run(AddressesOf(matmul.recipe(), arguments, results), device, stream); });
}

// Before anything runs, for choosing takes time.
ffi::Error Initialize(OnDevice* matmul, int32_t device, ffi::Dictionary) {
  return Guarded([&] { matmul->Prepare(device); });
}

ffi::Error Execute(OnDevice* matmul, int32_t device, void* stream, ffi::RemainingArgs arguments,
                   ffi::RemainingRets results, ffi::Dictionary) {
  return Run(*matmul, device, stream, arguments, results);
}

ffi::Error ExecuteOnHost(OnHost* matmul, ffi::RemainingArgs arguments, ffi::RemainingRets results, ffi::Dictionary) {
  return Run(*matmul, kHost, nullptr, arguments, results);
}

auto InstantiateBinding() {
  return ffi::Ffi::BindInstantiate().Attr<std::string_view>("spec").Attr<std::string_view>("version");
}

auto InitializeBinding() {
  return ffi::Ffi::BindInitialize().Ctx<ffi::State<OnDevice>>().Ctx<ffi::DeviceOrdinal>().Attrs<ffi::Dictionary>();
}

auto ExecuteBinding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::State<OnDevice>>()
      .Ctx<ffi::DeviceOrdinal>()
      .Ctx<ffi::PlatformStream<void*>>()
      .RemainingArgs()
      .RemainingRets()
      .Attrs<ffi::Dictionary>();
}

// All that it queues goes to the stream, and memory comes from XLA: it may be recorded and replayed.
constexpr auto kRecordable = ffi::Traits::kCmdBufferCompatible;

XLA_FFI_DEFINE_HANDLER_SYMBOL(kInstantiate, Instantiate<OnDevice>, InstantiateBinding(), {kRecordable});
XLA_FFI_DEFINE_HANDLER_SYMBOL(kInitialize, Initialize, InitializeBinding(), {kRecordable});
XLA_FFI_DEFINE_HANDLER_SYMBOL(kExecute, Execute, ExecuteBinding(), {kRecordable});
XLA_FFI_DEFINE_HANDLER_SYMBOL(kInstantiateOnHost, Instantiate<OnHost>, InstantiateBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kExecuteOnHost, ExecuteOnHost, BindExecute<OnHost>());

}  // namespace

PYBIND11_MODULE(_cublas, module) {
  module.doc() = "cuBLASLt behind XLA's foreign function interface";
  module.def("open", &Open, py::arg("path"),
             "Opens cuBLASLt, which programs are compiled for from now on. Raises RuntimeError if that fails.");
  module.def("version", [] { return Opened().version(); });
  module.attr("WORKSPACE_ALIGNMENT") = kWorkspaceAlignment;
  module.def("registrations", [] {
    py::dict stages = TargetStages(kInstantiate, kExecute);
    stages["initialize"] = py::capsule(reinterpret_cast<void*>(kInitialize));
    return py::dict(py::arg("collage_cublas_v1") = stages);
  });
  module.def("type_registrations", [] { return py::dict(py::arg("collage_cublas_v1") = StateType<OnDevice>()); });
  module.def("host_registrations",
             [] { return py::dict(py::arg("collage_cublas_v1") = TargetStages(kInstantiateOnHost, kExecuteOnHost)); },
             "The same call on host memory, without a stream, for a library that stands in for cuBLASLt in tests.");
  module.def("host_type_registrations",
             [] { return py::dict(py::arg("collage_cublas_on_host_v1") = StateType<OnHost>()); });
}

}  // namespace collage::cublas
