// collage_jax._cuda: XLA FFI targets that put users' kernels on a program's stream, compiled ones and functions written
// with CuPy, and one that marks where the stream is for what times it. Nothing of CUDA is linked.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../bindings.h"
#include "../python_functions.h"
#include "driver.h"
#include "launch.h"
#include "loaded.h"
#include "mark.h"

namespace collage::cuda {
namespace {

// Where a target runs: on a stream of XLA's, or, in tests with a driver that only records, on the host.
struct OnDevice {};
struct OnHost {};

// XLA numbers the types of states for each platform anew, so that no two platforms may share one.
template <typename Place>
struct Launching final : FfiState<Launching<Place>> {
  Launching(Launch given, Loaded& found) : launch(std::move(given)), kernel(found) {}
  Launch launch;
  Loaded& kernel;
};

template <typename Place>
struct Calling final : PythonTarget, FfiState<Calling<Place>> {};

template <typename Place>
struct Marking final : FfiState<Marking<Place>> {
  explicit Marking(const Mark& given) : mark(given) {}
  const Mark mark;
};

std::vector<int64_t> Sizes(ffi::Span<const int64_t> sizes) { return {sizes.begin(), sizes.end()}; }

template <typename Place>
ffi::ErrorOr<std::unique_ptr<Launching<Place>>> InstantiateLaunch(ffi::Span<const uint8_t> image, std::string_view name,
                                                                  ffi::Span<const int64_t> grid,
                                                                  ffi::Span<const int64_t> block, int64_t shared,
                                                                  int64_t shared_limit, std::string_view parameters) {
  return GuardedState<Launching<Place>>([&] {
    if (image.size() == 0) throw std::invalid_argument("a kernel needs its compiled code, got an empty image");
    Launch launch(name, Sizes(grid), Sizes(block), shared, shared_limit, parameters);
    Loaded& kernel = KernelOf({reinterpret_cast<const char*>(image.begin()), image.size()}, name);
    return std::make_unique<Launching<Place>>(std::move(launch), kernel);
  });
}

template <typename Place>
ffi::ErrorOr<std::unique_ptr<Calling<Place>>> InstantiateCupy(std::string_view function) {
  return GuardedState<Calling<Place>>([&] {
    auto state = std::make_unique<Calling<Place>>();
    state->name = function;
    state->function = FindPython(function);
    if (!state->function)
      throw std::invalid_argument("no function called `" + state->name + "` is registered in this process: import " +
                                  "the module that registers it, and have the program made anew");
    return state;
  });
}

template <typename Place>
ffi::ErrorOr<std::unique_ptr<Marking<Place>>> InstantiateMark(int64_t timer, std::string_view which) {
  return GuardedState<Marking<Place>>([&] { return std::make_unique<Marking<Place>>(Mark(timer, which)); });
}

std::vector<void*> Addresses(const ffi::RemainingArgs& operands) {
  std::vector<void*> addresses;
  for (size_t i = 0; i < operands.size(); ++i)
    addresses.push_back(operands.get<ffi::AnyBuffer>(i).value().untyped_data());
  return addresses;
}

std::vector<void*> Addresses(const ffi::RemainingRets& results) {
  std::vector<void*> addresses;
  for (size_t i = 0; i < results.size(); ++i)
    addresses.push_back((*results.get<ffi::AnyBuffer>(i))->untyped_data());
  return addresses;
}

// All that has to be loaded is loaded here, so that nothing but the launch is left for a command buffer to record.
ffi::Error InitializeLaunch(Launching<OnDevice>* state, ffi::RemainingArgs, ffi::RemainingRets, ffi::Dictionary) {
  return Guarded([&] { state->kernel.OnThisDevice(TheDriver(), state->launch.shared()); });
}

template <typename Place>
ffi::Error ExecuteLaunch(Stream stream, Launching<Place>* state, ffi::RemainingArgs operands,
                         ffi::RemainingRets results, ffi::Dictionary) {
  return Guarded([&] {
    const Driver& driver = TheDriver();
    const Function function = state->kernel.OnThisDevice(driver, state->launch.shared());
    state->launch.Run(driver, function, stream, Addresses(operands), Addresses(results));
  });
}

// The function gets the stream, the addresses of the operands and those of the results.
template <typename Place>
ffi::Error ExecuteCupy(Stream stream, Calling<Place>* state, ffi::RemainingArgs operands, ffi::RemainingRets results,
                       ffi::Dictionary) {
  return EnterPython(*state, [&](PyObject* function) {
    py::list addresses;
    for (void* address : Addresses(operands)) addresses.append(reinterpret_cast<uintptr_t>(address));
    for (void* address : Addresses(results)) addresses.append(reinterpret_cast<uintptr_t>(address));
    py::reinterpret_borrow<py::function>(function)(reinterpret_cast<uintptr_t>(stream), *addresses);
    return ffi::Error::Success();
  });
}

// A mark reads none of its operands, which are there for the order.
template <typename Place>
ffi::Error ExecuteMark(Stream stream, Marking<Place>* state, ffi::RemainingArgs, ffi::RemainingRets results,
                       ffi::Dictionary) {
  return Guarded([&] {
    if (results.size() != 1)
      throw std::invalid_argument("a mark has one result, got " + std::to_string(results.size()));
    auto result = results.get<ffi::AnyBuffer>(0).value();
    state->mark.Put(TheDriver(), stream, result->untyped_data(), result->size_bytes());
  });
}

ffi::Error LaunchOnHost(Launching<OnHost>* state, ffi::RemainingArgs operands, ffi::RemainingRets results,
                        ffi::Dictionary attributes) {
  return ExecuteLaunch<OnHost>(nullptr, state, operands, results, attributes);
}

ffi::Error CupyOnHost(Calling<OnHost>* state, ffi::RemainingArgs operands, ffi::RemainingRets results,
                      ffi::Dictionary attributes) {
  return ExecuteCupy<OnHost>(nullptr, state, operands, results, attributes);
}

ffi::Error MarkOnHost(Marking<OnHost>* state, ffi::RemainingArgs operands, ffi::RemainingRets results,
                      ffi::Dictionary attributes) {
  return ExecuteMark<OnHost>(nullptr, state, operands, results, attributes);
}

auto LaunchAttributes() {
  return ffi::Ffi::BindInstantiate()
      .Attr<ffi::Span<const uint8_t>>("image")
      .Attr<std::string_view>("name")
      .Attr<ffi::Span<const int64_t>>("grid")
      .Attr<ffi::Span<const int64_t>>("block")
      .Attr<int64_t>("shared")
      .Attr<int64_t>("shared_limit")
      .Attr<std::string_view>("parameters");
}

auto CupyAttributes() { return ffi::Ffi::BindInstantiate().Attr<std::string_view>("function"); }

auto MarkAttributes() { return ffi::Ffi::BindInstantiate().Attr<int64_t>("timer").Attr<std::string_view>("which"); }

auto BindInitialize() {
  return ffi::Ffi::BindInitialize()
      .Ctx<ffi::State<Launching<OnDevice>>>()
      .RemainingArgs()
      .RemainingRets()
      .Attrs<ffi::Dictionary>();
}

template <typename T>
auto BindOnStream() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::PlatformStream<Stream>>()
      .template Ctx<ffi::State<T>>()
      .RemainingArgs()
      .RemainingRets()
      .template Attrs<ffi::Dictionary>();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(kInstantiateLaunch, InstantiateLaunch<OnDevice>, LaunchAttributes());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kInitializeLaunch, InitializeLaunch, BindInitialize());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kLaunch, ExecuteLaunch<OnDevice>, BindOnStream<Launching<OnDevice>>(),
                              {ffi::Traits::kCmdBufferCompatible});
XLA_FFI_DEFINE_HANDLER_SYMBOL(kInstantiateCupy, InstantiateCupy<OnDevice>, CupyAttributes());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kCupy, ExecuteCupy<OnDevice>, BindOnStream<Calling<OnDevice>>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kInstantiateMark, InstantiateMark<OnDevice>, MarkAttributes());
// No part of a command buffer: what is recorded while one is captured takes no time.
XLA_FFI_DEFINE_HANDLER_SYMBOL(kMark, ExecuteMark<OnDevice>, BindOnStream<Marking<OnDevice>>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kInstantiateLaunchOnHost, InstantiateLaunch<OnHost>, LaunchAttributes());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kLaunchOnHost, LaunchOnHost, BindExecute<Launching<OnHost>>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kInstantiateCupyOnHost, InstantiateCupy<OnHost>, CupyAttributes());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kCupyOnHost, CupyOnHost, BindExecute<Calling<OnHost>>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kInstantiateMarkOnHost, InstantiateMark<OnHost>, MarkAttributes());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kMarkOnHost, MarkOnHost, BindExecute<Marking<OnHost>>());

py::dict Targets(const py::dict& launch, const py::dict& cupy, const py::dict& mark) {
  py::dict found;
  found["collage_cuda_launch_v1"] = launch;
  found["collage_cuda_cupy_v1"] = cupy;
  found["collage_cuda_mark_v1"] = mark;
  return found;
}

py::dict OfDevice() {
  py::dict launch = TargetStages(kInstantiateLaunch, kLaunch);
  launch["initialize"] = py::capsule(reinterpret_cast<void*>(kInitializeLaunch));
  return Targets(launch, TargetStages(kInstantiateCupy, kCupy), TargetStages(kInstantiateMark, kMark));
}

py::dict OfHost() {
  return Targets(TargetStages(kInstantiateLaunchOnHost, kLaunchOnHost),
                 TargetStages(kInstantiateCupyOnHost, kCupyOnHost),
                 TargetStages(kInstantiateMarkOnHost, kMarkOnHost));
}

template <typename Place>
void Define(py::module_ module, py::dict (*registrations)()) {
  module.def("registrations", registrations);
  module.def("type_registrations", [] {
    return Targets(StateType<Launching<Place>>(), StateType<Calling<Place>>(), StateType<Marking<Place>>());
  });
}

}  // namespace

PYBIND11_MODULE(_cuda, module) {
  module.doc() = "CUDA kernels and CuPy functions of users, and marks, behind XLA's foreign function interface";
  Define<OnDevice>(module, OfDevice);
  Define<OnHost>(module.def_submodule("host", "The same targets for arrays of the host, without a stream"), OfHost);
  module.def(
      "check_launch",
      [](std::string_view name, const std::vector<int64_t>& grid, const std::vector<int64_t>& block, int64_t shared,
         int64_t shared_limit, std::string_view parameters) {
        Launch(name, grid, block, shared, shared_limit, parameters);
      },
      py::arg("name"), py::arg("grid"), py::arg("block"), py::arg("shared"), py::arg("shared_limit"),
      py::arg("parameters"), "Raises ValueError with rule, value and remedy for a launch that no device can do.");
  module.def(
      "driver_version",
      [] {
        int version = 0;
        Check(TheDriver(), TheDriver().cuDriverGetVersion(&version), "asking for the driver's version");
        return version;
      },
      "The newest CUDA that the driver supports: 1000 times the major and 10 times the minor number.");
  module.def(
      "elapsed_us", [](int64_t timer) { return TimerOf(timer).ElapsedUs(TheDriver()); }, py::arg("timer"),
      py::call_guard<py::gil_scoped_release>(),
      "Microseconds between the marks of `timer` in the program that ran last; RuntimeError if none ran since then.");
  module.def("open_driver", &OpenDriver, py::arg("path"), "Has another library stand for the driver's, for tests.");
  module.def("close", &ClosePython, "Refuses all calls of functions from now on; the number of those still running.");
  module.def(
      "register_function",
      [](const std::string& name, const py::function& function) {
        ReleaseDropped();
        RegisterPython(name, function.ptr());
      },
      py::arg("name"), py::arg("function"), "Programs compiled from now on find `function` under `name`.");
}

}  // namespace collage::cuda
