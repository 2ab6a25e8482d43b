// collage_jax._sgemm: one XLA FFI target that runs a matrix product or packs its weights.
#include "../kernel_module.h"
#include "plan.h"

PYBIND11_MODULE(_sgemm, module) {
  using namespace collage;
  module.doc() = "matrix products behind XLA's foreign function interface";
  KernelModule<sgemm::Plan>::Define(module, "collage_sgemm_v1", sgemm::InstructionSet, sgemm::Threads);
}
