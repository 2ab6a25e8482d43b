// Python functions that programs of this process may call by name, and the way into one from a thread of XLA's.
// For extensions that do nothing else: each has a table of its own.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ffi_state.h"

namespace collage {

namespace py = pybind11;

// A reference to a Python object that any thread may copy and drop, whether it holds the GIL or not: XLA destroys
// programs wherever their last user happens to be.
using PythonFunction = std::shared_ptr<PyObject>;

// What an instantiate stage found.
struct PythonTarget {
  std::string name;
  PythonFunction function;
};

namespace python {

// Whoever holds one of the two mutexes runs no Python code and waits for nothing, so that they can be taken with the GIL.
struct Table {
  std::mutex mutex;
  std::map<std::string, PythonFunction, std::less<>> functions;
};

struct Dropped {
  std::mutex mutex;
  std::vector<PyObject*> objects;
};

// Never destroyed: a thread of XLA's may outlive the process's end.
inline Table& AllFunctions() {
  static auto* table = new Table;
  return *table;
}

inline Dropped& AllDropped() {
  static auto* dropped = new Dropped;
  return *dropped;
}

inline std::atomic<bool> is_closed = false;
inline std::atomic<int> running = 0;

// One call among those that `Close` counts.
class Running {
 public:
  Running() { ++running; }
  ~Running() { --running; }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
};

// Without what an error's text cannot hold: what is no UTF-8, and the end of a C string.
inline std::string Text(const py::handle& string) {
  std::string text = py::bytes(string.attr("encode")("utf-8", "backslashreplace"));
  text.erase(std::remove(text.begin(), text.end(), '\0'), text.end());
  return text;
}

// The exception in one line, then its traceback.
inline std::string Describe(const std::string& name, const py::error_already_set& error) {
  try {
    const py::module_ traceback = py::module_::import("traceback");
    const py::object trace = error.trace() ? error.trace() : py::object(py::none());
    const py::list last = traceback.attr("format_exception_only")(error.type(), error.value());
    const py::list lines = traceback.attr("format_exception")(error.type(), error.value(), trace);
    const std::string exception = Text(last[0]);
    return exception.substr(0, exception.find('\n')) + " (raised by the Python function " + name + ")\n\n" +
           Text(py::str("").attr("join")(lines));
  } catch (const py::error_already_set&) {
    return "the Python function " + name + " raised an exception that cannot be printed";
  }
}

}  // namespace python

// Programs compiled from now on call `function` by `name`; those compiled before keep theirs. Needs the GIL.
inline void RegisterPython(const std::string& name, PyObject* function) {
  Py_INCREF(function);
  PythonFunction held(function, [](PyObject* object) {
    std::lock_guard<std::mutex> lock(python::AllDropped().mutex);
    python::AllDropped().objects.push_back(object);
  });
  std::lock_guard<std::mutex> lock(python::AllFunctions().mutex);
  python::AllFunctions().functions[name] = std::move(held);
}

// The function of that name, null if there is none. Needs no GIL: a program may be compiled while another thread has it.
inline PythonFunction FindPython(std::string_view name) {
  std::lock_guard<std::mutex> lock(python::AllFunctions().mutex);
  const auto found = python::AllFunctions().functions.find(name);
  return found == python::AllFunctions().functions.end() ? nullptr : found->second;
}

// Lets go of what was dropped without the GIL. Needs the GIL.
inline void ReleaseDropped() {
  std::vector<PyObject*> objects;
  {
    std::lock_guard<std::mutex> lock(python::AllDropped().mutex);
    objects.swap(python::AllDropped().objects);
  }
  for (PyObject* object : objects) Py_DECREF(object);
}

inline ffi::Error PythonFailed(std::string message) {
  return ffi::Error(ffi::ErrorCode::kInternal, std::move(message));
}

// `call(function)` with the GIL, an `ffi::Error`; whatever is raised on the way becomes one that holds its traceback.
template <typename Call>
ffi::Error EnterPython(const PythonTarget& target, Call&& call) {
  const InXlasOrder ordered;
  const python::Running counted;
  if (python::is_closed)
    return ffi::Error(ffi::ErrorCode::kFailedPrecondition,
                      "the Python function " + target.name + " cannot be called any more: Python is shutting down");
  const py::gil_scoped_acquire gil;
  try {
    ReleaseDropped();
    return std::forward<Call>(call)(target.function.get());
  } catch (const py::error_already_set& error) {
    return PythonFailed(python::Describe(target.name, error));
  } catch (const std::exception& error) {
    return PythonFailed("the Python function " + target.name + " cannot be called: " + error.what());
  } catch (...) {
    return PythonFailed("the Python function " + target.name + " cannot be called: an unknown C++ exception");
  }
}

// From now on every call is refused; the number of those still running. Python must not end before it is 0, for it ends
// threads that are waiting for the GIL.
inline int ClosePython() {
  python::is_closed = true;
  return python::running;
}

}  // namespace collage
