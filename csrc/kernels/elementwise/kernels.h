// The loops over numbers, compiled once per instruction set; everything else is in plan.cc.
//
// A *program* computes some neighbouring elements, instruction by instruction, each of which makes that many numbers
// in the core's own cache.
#pragma once

#include <cstdint>

#include "../offers.h"

namespace collage::elementwise {

constexpr int64_t kBlock = 1024;        // elements at once
constexpr int kMostInstructions = 32;  // their numbers fit into the core's own cache
constexpr int kMostReads = 16;

// A comparison makes a truth value, as a number with all bits set or none. What is NaN stays NaN in the larger or
// smaller of two, as in XLA.
enum class Op { kRead, kNumber, kAdd, kSub, kMul, kDiv, kMax, kMin, kNeg, kAbs, kSqrt, kGt, kGe, kEq, kNe, kSelect };

// `a`, `b` and `c` are places of earlier instructions; of a read, `a` is the operand.
struct Instruction {
  Op op;
  int a, b, c;
  float number;
};

struct Kernels {
  // to[i] for i < count, of the numbers at x, y and z that the instruction's operands made.
  void (*apply)(Op op, const float* x, const float* y, const float* z, float* to, int64_t count);
};

// Null if the processor lacks what they are compiled for.
const Kernels* Avx512Kernels();
const Kernels* Avx2Kernels();

inline constexpr Offer<Kernels> kOffers[] = {{"avx512", Avx512Kernels}, {"avx2", Avx2Kernels}};  // the best first

}  // namespace collage::elementwise
