// The Python functions that programs of this process may call, by name.
#pragma once

#include <Python.h>

#include <memory>
#include <string>
#include <string_view>

namespace collage::callback {

// A reference to a Python object that any thread may copy and drop, whether it holds the GIL or not: XLA destroys
// programs wherever their last user happens to be.
using Function = std::shared_ptr<PyObject>;

// Programs compiled from now on call `function` by `name`; those compiled before keep theirs. Needs the GIL.
void Register(const std::string& name, PyObject* function);

// The function of that name, null if there is none. Needs no GIL: a program may be compiled while another thread has it.
Function Find(std::string_view name);

// Lets go of what was dropped without the GIL. Needs the GIL.
void ReleaseDropped();

}  // namespace collage::callback
