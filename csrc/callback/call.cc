#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "call.h"
#include "views.h"

#include <algorithm>
#include <string>
#include <vector>

namespace collage::callback {
namespace {

// The views of one call: the operands, then the results.
class Views {
 public:
  Views(const ffi::RemainingArgs& arguments, const ffi::RemainingRets& results) : operands_(arguments.size()) {
    views_.reserve(arguments.size() + results.size());
    for (size_t i = 0; i < arguments.size(); ++i)
      views_.push_back(View(arguments.get<ffi::AnyBuffer>(i).value(), /*writable=*/false));
    for (size_t i = 0; i < results.size(); ++i)
      views_.push_back(View(*results.get<ffi::AnyBuffer>(i).value(), /*writable=*/true));
  }

  py::object PassTo(PyObject* function) const {
    std::vector<PyObject*> passed(1 + views_.size());  // the first place is for the function's own use
    std::transform(views_.begin(), views_.end(), passed.begin() + 1, [](const py::array& view) { return view.ptr(); });
    PyObject* result = PyObject_Vectorcall(function, passed.data() + 1,
                                           views_.size() | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
    if (result == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(result);
  }

  // As functions of NumPy do with `out=`: a result, or a tuple of them.
  bool AreMeantBy(const py::object& returned) const {
    if (returned.is_none() || IsResult(returned)) return true;
    if (!PyTuple_CheckExact(returned.ptr())) return false;
    const auto items = py::reinterpret_borrow<py::tuple>(returned);
    return std::all_of(items.begin(), items.end(), [&](const py::handle& item) { return IsResult(item); });
  }

  // The place of a view that somebody else holds, or whose part somebody holds; their number if there is none.
  size_t InUse() const {
    const auto found = std::find_if(views_.begin(), views_.end(),
                                    [](const py::array& view) { return Py_REFCNT(view.ptr()) > 1; });
    return static_cast<size_t>(found - views_.begin());
  }

  size_t operands() const { return operands_; }
  size_t size() const { return views_.size(); }

 private:
  bool IsResult(const py::handle& object) const {
    return std::any_of(views_.begin() + static_cast<std::ptrdiff_t>(operands_), views_.end(),
                       [&](const py::array& view) { return view.is(object); });
  }

  size_t operands_;
  std::vector<py::array> views_;
};

std::string WrongReturn(const std::string& name, const Views& views, const py::object& returned) {
  const std::string count = std::to_string(views.size() - views.operands());
  return "the Python function " + name + " returned an object of type " + Py_TYPE(returned.ptr())->tp_name +
         "; it must write its " + count + " result(s) into its last " + count + " argument(s) and return None";
}

std::string Escaped(const std::string& name, const Views& views, size_t place) {
  const bool is_result = place >= views.operands();
  return "the Python function " + name + " has returned and its argument " + std::to_string(place) + " (" +
         (is_result ? "result " + std::to_string(place - views.operands()) : "an operand") +
         "), or a view of it, is still in use; XLA gives this memory to other arrays: keep a copy, numpy.array(...)";
}

}  // namespace

ffi::Error Call(const PythonTarget& target, const ffi::RemainingArgs& arguments, const ffi::RemainingRets& results) {
  return EnterPython(target, [&](PyObject* function) {
    const Views views(arguments, results);
    {
      const py::object returned = views.PassTo(function);
      if (!views.AreMeantBy(returned)) return PythonFailed(WrongReturn(target.name, views, returned));
    }
    // What is left in circles of references is in nobody's use.
    if (views.InUse() < views.size()) py::module_::import("gc").attr("collect")();
    if (const size_t place = views.InUse(); place < views.size())
      return PythonFailed(Escaped(target.name, views, place));
    return ffi::Error::Success();
  });
}

}  // namespace collage::callback
