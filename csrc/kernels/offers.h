// The kernels of a library for each instruction set, and which of them a plan takes.
#pragma once

#include <omp.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "../tokens.h"

namespace collage {

// `kernels` gives null if the processor lacks what they are compiled for.
template <typename Kernels, typename... Arguments>
struct Offer {
  std::string_view isa;
  const Kernels* (*kernels)(Arguments...);
};

// The first of `offers` that the processor can run, or of the one called `isa` if that is not empty; throws SpecError.
template <typename Kernels, size_t N, typename... Arguments>
const Kernels* Choose(const Offer<Kernels, Arguments...> (&offers)[N], const std::string& isa, Arguments... arguments) {
  for (const auto& offer : offers)
    if (isa.empty() || isa == offer.isa)
      if (const Kernels* kernels = offer.kernels(arguments...)) return kernels;
  throw SpecError("there are no kernels for " + (isa.empty() ? "this processor" : "isa=" + isa));
}

// The instruction set of the first, "" if the processor can run none.
template <typename Kernels, size_t N, typename... Arguments>
std::string InstructionSet(const Offer<Kernels, Arguments...> (&offers)[N], Arguments... arguments) {
  for (const auto& offer : offers)
    if (offer.kernels(arguments...) != nullptr) return std::string(offer.isa);
  return "";
}

inline int Threads() { return omp_get_max_threads(); }

// For work that moves `elements` numbers in `items` pieces: with fewer a thread than 32768, waking another takes longer.
inline int ThreadsToMove(double elements, double items) {
  return static_cast<int>(std::clamp<double>(std::min(elements / (1 << 15), items), 1, Threads()));
}

}  // namespace collage
