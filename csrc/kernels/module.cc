// collage_jax._kernels: our own libraries of kernels. One extension, for most of an extension's build time goes to what
// shows it to Python; a submodule and an XLA FFI target for each library.
#include "attention/plan.h"
#include "concat/plan.h"
#include "elementwise/plan.h"
#include "grouped/plan.h"
#include "kernel_module.h"
#include "narrow/plan.h"
#include "pools/plan.h"
#include "rows/plan.h"
#include "separable/plan.h"
#include "sgemm/plan.h"
#include "winograd/plan.h"

PYBIND11_MODULE(_kernels, module) {
  using namespace collage;
  module.doc() = "kernels of our own behind XLA's foreign function interface";
  auto library = [&](const char* name, const char* what) { return module.def_submodule(name, what); };
  KernelModule<attention::Plan>::Define(library("attention", "attention as one kernel"), "collage_attention_v1",
                                        [] { return InstructionSet(sgemm::kOffers); });
  KernelModule<concat::Plan>::Define(library("concat", "arrays into their places in another"), "collage_concat_v1",
                                     [] { return std::string("any"); });
  KernelModule<elementwise::Plan>::Define(library("elementwise", "each element by itself, moved or not"),
                                          "collage_elementwise_v1", [] { return InstructionSet(elementwise::kOffers); });
  KernelModule<grouped::Plan>::Define(library("grouped", "convolutions in groups"), "collage_grouped_v1",
                                      [] { return InstructionSet(grouped::kOffers); });
  KernelModule<narrow::Plan>::Define(library("narrow", "convolutions to few channels"), "collage_narrow_v1",
                                     [] { return InstructionSet(sgemm::kOffers); });
  KernelModule<pools::Plan>::Define(library("pools", "gradients of pooling"), "collage_pools_v1",
                                    [] { return std::string("any"); });
  KernelModule<rows::Plan>::Define(library("rows", "norms and softmax of rows, and their gradients"), "collage_rows_v1",
                                   [] { return InstructionSet(rows::kOffers); });
  KernelModule<separable::Plan>::Define(library("separable", "depthwise convolutions with the pointwise one after"),
                                        "collage_separable_v1", [] { return InstructionSet(sgemm::kOffers); });
  KernelModule<sgemm::Plan>::Define(library("sgemm", "matrix products"), "collage_sgemm_v1",
                                    [] { return InstructionSet(sgemm::kOffers); });
  KernelModule<winograd::Plan>::Define(library("winograd", "Winograd convolutions"), "collage_winograd_v1",
                                       [] { return InstructionSet(winograd::kOffers, winograd::Method::kTwo); });
}
