// collage_jax._grouped: one XLA FFI target that runs a convolution in groups or packs its weights.
#include "../kernel_module.h"
#include "plan.h"

PYBIND11_MODULE(_grouped, module) {
  using namespace collage;
  module.doc() = "convolutions in groups behind XLA's foreign function interface";
  KernelModule<grouped::Plan>::Define(module, "collage_grouped_v1", grouped::InstructionSet, grouped::Threads);
}
