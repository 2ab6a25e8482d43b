#include "views.h"

#include <array>
#include <stdexcept>
#include <string>
#include <vector>

namespace collage::callback {
namespace {

struct Named {
  ffi::DataType type;
  const char* module;
  const char* name;
};

// Numbers of less than a byte are left out: XLA packs them in some places and not in others.
constexpr Named kDtypes[] = {
    {ffi::PRED, "numpy", "bool"},
    {ffi::S8, "numpy", "int8"},
    {ffi::S16, "numpy", "int16"},
    {ffi::S32, "numpy", "int32"},
    {ffi::S64, "numpy", "int64"},
    {ffi::U8, "numpy", "uint8"},
    {ffi::U16, "numpy", "uint16"},
    {ffi::U32, "numpy", "uint32"},
    {ffi::U64, "numpy", "uint64"},
    {ffi::F16, "numpy", "float16"},
    {ffi::F32, "numpy", "float32"},
    {ffi::F64, "numpy", "float64"},
    {ffi::C64, "numpy", "complex64"},
    {ffi::C128, "numpy", "complex128"},
    {ffi::BF16, "ml_dtypes", "bfloat16"},
    {ffi::F8E3M4, "ml_dtypes", "float8_e3m4"},
    {ffi::F8E4M3, "ml_dtypes", "float8_e4m3"},
    {ffi::F8E4M3FN, "ml_dtypes", "float8_e4m3fn"},
    {ffi::F8E4M3B11FNUZ, "ml_dtypes", "float8_e4m3b11fnuz"},
    {ffi::F8E4M3FNUZ, "ml_dtypes", "float8_e4m3fnuz"},
    {ffi::F8E5M2, "ml_dtypes", "float8_e5m2"},
    {ffi::F8E5M2FNUZ, "ml_dtypes", "float8_e5m2fnuz"},
    {ffi::F8E8M0FNU, "ml_dtypes", "float8_e8m0fnu"},
};

// References that are never given back; null where there is no such dtype.
std::array<PyObject*, 256> dtypes = {};
PyObject* lender = nullptr;

}  // namespace

void LoadDtypes() {
  const py::object numpy_dtype = py::module_::import("numpy").attr("dtype");
  for (const Named& named : kDtypes) {
    const py::module_ module = py::module_::import(named.module);
    // An older ml_dtypes has fewer of them.
    const py::object type = py::getattr(module, named.name, py::none());
    if (!type.is_none()) dtypes[static_cast<uint8_t>(named.type)] = numpy_dtype(type).release().ptr();
  }
  lender = py::str("memory of XLA, lent for one call").release().ptr();
}

py::list DtypeNames() {
  py::list names;
  for (const Named& named : kDtypes)
    if (dtypes[static_cast<uint8_t>(named.type)] != nullptr) names.append(named.name);
  return names;
}

py::array View(const ffi::AnyBuffer& buffer, bool writable) {
  const auto number = static_cast<uint8_t>(buffer.element_type());
  if (dtypes[number] == nullptr)
    throw std::invalid_argument("an array is of a type that NumPy cannot view, number " + std::to_string(number) +
                                " of XLA's");
  const auto dimensions = buffer.dimensions();
  std::vector<py::ssize_t> shape(dimensions.begin(), dimensions.end());
  // An object as the base keeps NumPy from copying. This one offers no buffer, so that nobody can make an array
  // writable that is not.
  py::array view(py::reinterpret_borrow<py::dtype>(dtypes[number]), std::move(shape), buffer.untyped_data(), lender);
  if (!writable) py::detail::array_proxy(view.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return view;
}

}  // namespace collage::callback
