// XLA's buffers as NumPy arrays, without copies.
#pragma once

#include <pybind11/numpy.h>

#include "../ffi_state.h"

namespace collage::callback {

namespace py = pybind11;

// Finds the dtypes of NumPy and ml_dtypes. Once, when the module is imported; needs the GIL, as all here does.
void LoadDtypes();

// Names of the dtypes of which there are views.
py::list DtypeNames();

// An array in C order on the memory of `buffer`, which it does not own. Throws if there is no such dtype.
py::array View(const ffi::AnyBuffer& buffer, bool writable);

}  // namespace collage::callback
