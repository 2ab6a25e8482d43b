// A kernel that can be one step of a program (csrc/program). Its library makes it from the text that the kernel's own
// FFI call carries, and hands the maker out as a capsule.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

namespace collage {

class Step {
 public:
  virtual ~Step() = default;

  // What the buffers of a run hold at least.
  virtual std::vector<size_t> OperandBytes() const = 0;
  virtual size_t ResultBytes() const = 0;

  // The buffers do not overlap, and are aligned as XLA's are. Any number of threads may run the same step. Throws.
  virtual void Run(const void* const* operands, void* result) const = 0;
};

using StepMaker = std::unique_ptr<Step> (*)(std::string_view spec, std::string_view version);

// Extensions are built together, so that they agree on what a Step is; another layout of it needs another name.
constexpr const char* kStepMaker = "collage_jax.step_maker.v1";

}  // namespace collage
