// collage_jax._openvino: one XLA FFI target that packs a model's weights, and one that runs the model.
#include <pybind11/pybind11.h>

#include <cstring>
#include <string>
#include <vector>

#include "../bindings.h"
#include "../huge_pages.h"
#include "../tokens.h"
#include "api.h"
#include "models.h"

namespace collage::openvino {
namespace {

struct State : Models, FfiState<State> {
  using Models::Models;
};

ffi::ErrorOr<std::unique_ptr<State>> Instantiate(std::string_view model, std::string_view literals,
                                                 std::string_view arrays) {
  return GuardedState<State>([&] {
    Library();
    return std::make_unique<State>(MakeRecipe(model, literals, arrays));
  });
}

void* Address(const ffi::AnyBuffer& buffer, const Array& array, const char* what, size_t number) {
  if (buffer.size_bytes() != array.bytes())
    throw SpecError(what + std::to_string(number) + " has " + std::to_string(buffer.size_bytes()) + " bytes, the model takes " +
                    std::to_string(array.bytes()));
  return buffer.untyped_data();
}

std::vector<const void*> Weights(const Recipe& recipe, const ffi::RemainingArgs& arguments, size_t first) {
  std::vector<const void*> weights;
  for (size_t i = 0; i < recipe.weights.size(); ++i)
    weights.push_back(Address(arguments.get<ffi::AnyBuffer>(first + i).value(), recipe.weights[i], "weight ", i));
  return weights;
}

// Weights in, what the model with them is called out.
ffi::Error Prepare(State* models, ffi::RemainingArgs arguments, ffi::RemainingRets results, ffi::Dictionary) {
  return Guarded([&] {
    const std::vector<const void*> weights = Weights(models->recipe(), arguments, 0);
    const Token token = TokenOf(models->recipe(), weights);
    models->Find(token, [&] { return weights; });
    const ffi::AnyBuffer result = *results.get<ffi::AnyBuffer>(0).value();
    if (result.size_bytes() != sizeof token) throw SpecError("the result has another size than a token");
    std::memcpy(result.untyped_data(), token.data(), sizeof token);
  });
}

// The token and the weights, if there are any, then the inputs.
ffi::Error Execute(State* models, ffi::RemainingArgs arguments, ffi::RemainingRets results, ffi::Dictionary) {
  return Guarded([&] {
    const Recipe& recipe = models->recipe();
    const size_t fixed = recipe.weights.empty() ? 0 : 1 + recipe.weights.size();
    if (arguments.size() != fixed + recipe.inputs.size() || results.size() != recipe.outputs.size())
      throw SpecError("the model has another number of inputs or outputs");
    Token token = models->own_token();
    if (fixed > 0) {
      const ffi::AnyBuffer given = arguments.get<ffi::AnyBuffer>(0).value();
      if (given.size_bytes() != sizeof token) throw SpecError("operand 0 has another size than a token");
      std::memcpy(token.data(), given.untyped_data(), sizeof token);
    }
    std::vector<void*> inputs, outputs;
    for (size_t i = 0; i < recipe.inputs.size(); ++i)
      inputs.push_back(Address(arguments.get<ffi::AnyBuffer>(fixed + i).value(), recipe.inputs[i], "input ", i));
    for (size_t i = 0; i < recipe.outputs.size(); ++i) {
      outputs.push_back(Address(*results.get<ffi::AnyBuffer>(i).value(), recipe.outputs[i], "output ", i));
      PreferHugePages(outputs.back(), recipe.outputs[i].bytes());
    }
    models->Find(token, [&] { return Weights(recipe, arguments, 1); })->Run(inputs, outputs);
  });
}

auto InstantiateBinding() {
  return ffi::Ffi::BindInstantiate()
      .Attr<std::string_view>("model")
      .Attr<std::string_view>("literals")
      .Attr<std::string_view>("arrays");
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(kInstantiate, Instantiate, InstantiateBinding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kPrepare, Prepare, BindExecute<State>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(kExecute, Execute, BindExecute<State>());

}  // namespace

PYBIND11_MODULE(_openvino, module) {
  module.doc() = "OpenVINO behind XLA's foreign function interface";
  module.def("open", &Open, py::arg("path"), "Opens OpenVINO's C library. Raises RuntimeError if that fails.");
  module.def("registrations", [] {
    return py::dict(py::arg("collage_openvino_prepare_v1") = TargetStages(kInstantiate, kPrepare),
                    py::arg("collage_openvino_v1") = TargetStages(kInstantiate, kExecute));
  });
  module.def("type_registrations", [] { return py::dict(py::arg("collage_openvino_v1") = StateType<State>()); });
}

}  // namespace collage::openvino
