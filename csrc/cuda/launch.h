// One launch of a kernel: its dimensions and parameters, checked when the program is compiled.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "driver.h"

namespace collage::cuda {

// A parameter: the address of an array, or the bytes of a scalar. No address means a null pointer.
struct Parameter {
  enum Kind { kOperand, kResult, kValue } kind;
  size_t index = 0;
  alignas(16) std::array<unsigned char, 16> value = {};
};

class Launch {
 public:
  // `grid` and `block` have three numbers. `shared_limit`: the most shared memory that a block can have on the device.
  // `parameters`: words, one for each parameter of the kernel: in0, in1, ... for an operand, out0, ... for a result,
  // null, or for a scalar its dtype and bytes, as in int32:00040000. Throws std::invalid_argument with rule, value and
  // remedy.
  Launch(std::string_view name, const std::vector<int64_t>& grid, const std::vector<int64_t>& block, int64_t shared,
         int64_t shared_limit, std::string_view parameters);

  unsigned shared() const { return shared_; }

  // Throws std::runtime_error if the driver refuses, std::invalid_argument if an array is not there.
  void Run(const Driver& driver, Function function, Stream stream, const std::vector<void*>& operands,
           const std::vector<void*>& results) const;

 private:
  std::string name_;
  std::array<unsigned, 3> grid_, block_;
  unsigned shared_;
  std::vector<Parameter> parameters_;
};

}  // namespace collage::cuda
