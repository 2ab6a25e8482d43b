// A call of a Python function on the arrays of a running program.
#pragma once

#include "../python_functions.h"

namespace collage::callback {

// Calls `function(*arguments, *results)` with the GIL. What the function raises becomes an error that holds
// its traceback; so does a view that is still in use when it has returned, for XLA gives the memory to others.
ffi::Error Call(const PythonTarget& target, const ffi::RemainingArgs& arguments, const ffi::RemainingRets& results);

}  // namespace collage::callback
