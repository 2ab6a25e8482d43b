// collage_jax._winograd: one XLA FFI target that runs a convolution or transforms its weights.
#include "../kernel_module.h"
#include "plan.h"

PYBIND11_MODULE(_winograd, module) {
  using namespace collage;
  module.doc() = "Winograd convolutions behind XLA's foreign function interface";
  KernelModule<winograd::Plan>::Define(module, "collage_winograd_v1", winograd::InstructionSet, winograd::Threads);
}
