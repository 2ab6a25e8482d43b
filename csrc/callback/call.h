// A call of a Python function on the arrays of a running program.
#pragma once

#include <string>

#include "../ffi_state.h"
#include "functions.h"

namespace collage::callback {

// What the instantiate stage found.
struct Target {
  std::string name;
  Function function;
};

// Calls `function(*arguments, *results)` with the GIL. What the function raises becomes an error that holds
// its traceback; so does a view that is still in use when it has returned, for XLA gives the memory to others.
ffi::Error Call(const Target& target, const ffi::RemainingArgs& arguments, const ffi::RemainingRets& results);

// From now on every call is refused; the number of those still running. Python must not end before it is 0, for it ends
// threads that are waiting for the GIL.
int Close();

}  // namespace collage::callback
