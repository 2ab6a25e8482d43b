// The text form of a program. Two lines for each step:
//   <library> <version> <result> <operand> <operand> ...
//   <the kernel's own spec>
// A first line `timed` asks for one more result: the microseconds that each step took, float32.
// An array is i0, i1, ... (given by the caller), o0, o1, ... (the program's results) or t0, t1, ... (of its own). A result
// may be a part of an array, t0+64 from its byte 64 on: several steps make such an array, which is as large as they need.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace collage::program {

// A text that makes no sense; the message names the step.
struct TextError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

struct Array {
  enum Kind { kInput, kOutput, kTemporary } kind;
  size_t number;
  size_t offset = 0;  // bytes; of a result
  bool is_part = false;
};

struct StepText {
  std::string_view library, version, spec;
  Array result;
  std::vector<Array> operands;
};

struct ProgramText {
  bool timed;
  std::vector<StepText> steps;
};

// Views into `text`. Every array that is no input has been made by an earlier step, once, or in parts.
ProgramText ParseProgram(std::string_view text);

}  // namespace collage::program
