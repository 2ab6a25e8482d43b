#include "functions.h"

#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace collage::callback {
namespace {

// Whoever holds one of the two mutexes runs no Python code and waits for nothing, so that they can be taken with the GIL.
struct Table {
  std::mutex mutex;
  std::map<std::string, Function, std::less<>> functions;
};

struct Dropped {
  std::mutex mutex;
  std::vector<PyObject*> objects;
};

// Never destroyed: a thread of XLA's may outlive the process's end.
Table& AllFunctions() {
  static auto* table = new Table;
  return *table;
}

Dropped& AllDropped() {
  static auto* dropped = new Dropped;
  return *dropped;
}

void Drop(PyObject* object) {
  std::lock_guard<std::mutex> lock(AllDropped().mutex);
  AllDropped().objects.push_back(object);
}

}  // namespace

void Register(const std::string& name, PyObject* function) {
  Py_INCREF(function);
  Function held(function, Drop);
  std::lock_guard<std::mutex> lock(AllFunctions().mutex);
  AllFunctions().functions[name] = std::move(held);
}

Function Find(std::string_view name) {
  std::lock_guard<std::mutex> lock(AllFunctions().mutex);
  const auto found = AllFunctions().functions.find(name);
  return found == AllFunctions().functions.end() ? nullptr : found->second;
}

void ReleaseDropped() {
  std::vector<PyObject*> objects;
  {
    std::lock_guard<std::mutex> lock(AllDropped().mutex);
    objects.swap(AllDropped().objects);
  }
  for (PyObject* object : objects) Py_DECREF(object);
}

}  // namespace collage::callback
