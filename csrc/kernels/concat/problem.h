// What one call does, and its text form: space-separated key=value tokens, for example
//   op=place rows=784 row=1056 parts=2 columns=176x176 offsets=0x352
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "../../tokens.h"

namespace collage::concat {

// Each part, dense rows of some columns, goes to its place in the rows of the result: at its offset. What lies between
// the parts stays as it is.
struct Problem {
  int64_t rows, row;  // from a row of the result to the next
  std::vector<int64_t> columns, offsets;

  int64_t packed_size() const { return 0; }  // nothing is packed ahead
};

// Throws SpecError, naming the token or the reason.
Problem ParseProblem(std::string_view spec);

}  // namespace collage::concat
