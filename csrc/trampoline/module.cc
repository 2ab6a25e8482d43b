// collage_jax._trampoline: one XLA FFI target that hands a Python function the addresses of a program's arrays and the
// stream they are made on, for libraries that are called from Python and enqueue their work themselves.
#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "../bindings.h"
#include "../python_functions.h"

namespace collage::trampoline {
namespace {

// Where the target runs: on a stream of XLA's, or, in tests, on the host.
struct OnDevice {};
struct OnHost {};

// One type for each platform: see ffi_state.h.
template <typename Place>
struct State final : PythonTarget, FfiState<State<Place>> {};

// Under this name stands what is asked for functions that nobody has registered yet.
constexpr char kResolver[] = "resolver";

const char* NameOf(ffi::DataType type) {
  switch (type) {
    case ffi::PRED: return "bool";
    case ffi::S8: return "int8";
    case ffi::U8: return "uint8";
    case ffi::S32: return "int32";
    case ffi::S64: return "int64";
    case ffi::F16: return "float16";
    case ffi::BF16: return "bfloat16";
    case ffi::F32: return "float32";
    case ffi::F64: return "float64";
    default: throw std::invalid_argument("no name for type " + std::to_string(static_cast<int>(type)) + " of XLA's");
  }
}

py::tuple Described(const ffi::AnyBuffer& buffer) {
  const auto dimensions = buffer.dimensions();
  py::tuple shape(dimensions.size());
  for (size_t i = 0; i < dimensions.size(); ++i) shape[i] = dimensions[i];
  return py::make_tuple(reinterpret_cast<uintptr_t>(buffer.untyped_data()), NameOf(buffer.element_type()), shape);
}

// Asks the resolver, which returns the function or, as a text, why there is none.
ffi::Error Resolve(PythonTarget& state, const std::string& version) {
  const PythonFunction resolver = FindPython(kResolver);
  const std::string missing = "no function called `" + state.name + "` is registered in this process";
  if (!resolver) return ffi::Error(ffi::ErrorCode::kNotFound, missing);
  return EnterPython({kResolver, resolver}, [&](PyObject* function) {
    const py::object found = py::reinterpret_borrow<py::function>(function)(state.name, version);
    if (py::isinstance<py::str>(found))
      return ffi::Error(ffi::ErrorCode::kNotFound, missing + ": " + python::Text(found));
    RegisterPython(state.name, found.ptr());
    state.function = FindPython(state.name);
    return ffi::Error::Success();
  });
}

template <typename Place>
ffi::ErrorOr<std::unique_ptr<State<Place>>> Instantiate(std::string_view function, std::string_view version) {
  ffi::Error unresolved;
  auto made = GuardedState<State<Place>>([&] {
    auto state = std::make_unique<State<Place>>();
    state->name = function;
    state->function = FindPython(function);
    if (!state->function) unresolved = Resolve(*state, std::string(version));
    return state;
  });
  if (unresolved.failure()) return ffi::Unexpected(std::move(unresolved));
  return made;
}

template <typename Place>
ffi::Error OnStream(void* stream, State<Place>* state, ffi::RemainingArgs arguments, ffi::RemainingRets results,
                    ffi::Dictionary) {
  return EnterPython(*state, [&](PyObject* function) {
    py::list operands, made;
    for (size_t i = 0; i < arguments.size(); ++i)
      operands.append(Described(arguments.get<ffi::AnyBuffer>(i).value()));
    for (size_t i = 0; i < results.size(); ++i) made.append(Described(*results.get<ffi::AnyBuffer>(i).value()));
    py::reinterpret_borrow<py::function>(function)(reinterpret_cast<uintptr_t>(stream), operands, made);
    return ffi::Error::Success();
  });
}

// The same on arrays of the host, where there are no streams.
ffi::Error WithoutStream(State<OnHost>* state, ffi::RemainingArgs arguments, ffi::RemainingRets results,
                         ffi::Dictionary attributes) {
  return OnStream<OnHost>(nullptr, state, arguments, results, attributes);
}

auto InstantiateBinding() {
  return ffi::Ffi::BindInstantiate().Attr<std::string_view>("function").Attr<std::string_view>("version");
}

// `CUstream` is a pointer.
auto StreamBinding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::PlatformStream<void*>>()
      .Ctx<ffi::State<State<OnDevice>>>()
      .RemainingArgs()
      .RemainingRets()
      .Attrs<ffi::Dictionary>();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(kInstantiate, Instantiate<OnDevice>, InstantiateBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kInstantiateOnHost, Instantiate<OnHost>, InstantiateBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kOnStream, OnStream<OnDevice>, StreamBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kOnHost, WithoutStream, BindExecute<State<OnHost>>());

template <typename Place>
void DefineTarget(py::module_ module, XLA_FFI_Handler* instantiate, XLA_FFI_Handler* execute) {
  module.def("registrations", [instantiate, execute] {
    return py::dict(py::arg("collage_tensorrt_v1") = TargetStages(instantiate, execute));
  });
  module.def("type_registrations", [] { return py::dict(py::arg("collage_tensorrt_v1") = StateType<State<Place>>()); });
}

}  // namespace

PYBIND11_MODULE(_trampoline, module) {
  module.doc() = "Python functions behind XLA's foreign function interface, on addresses and streams";
  DefineTarget<OnDevice>(module, kInstantiate, kOnStream);
  DefineTarget<OnHost>(module.def_submodule("host", "The same target for arrays of the host, without a stream"),
                       kInstantiateOnHost, kOnHost);
  module.def("close", &ClosePython, "Refuses all calls from now on; the number of those still running.");
  module.def(
      "register_function",
      [](const std::string& name, const py::function& function) {
        ReleaseDropped();
        RegisterPython(name, function.ptr());
      },
      py::arg("name"), py::arg("function"), "Programs compiled from now on find `function` under `name`.");
  module.def(
      "register_resolver", [](const py::function& resolver) { RegisterPython(kResolver, resolver.ptr()); },
      py::arg("resolver"), "`resolver(name, version)` gives functions that are not registered, or a text why not.");
}

}  // namespace collage::trampoline
