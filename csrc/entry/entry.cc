// The call of a decorated function without a Python frame: a frame costs half a microsecond, a tenth of the smallest
// call of jax.jit.
//
//   Entry(...)(*args, **kwargs) = self._serve(*args, **kwargs), or, if that raises a Detour,
//                                 self._detoured(type of the Detour, args, kwargs)
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

namespace {

PyObject* detour = nullptr;

struct Entry {
  PyObject_HEAD
  PyObject* serve;
  PyObject* detoured;
};

PyObject* Call(PyObject* self, PyObject* args, PyObject* kwargs) {
  auto* entry = reinterpret_cast<Entry*>(self);
  if (entry->serve == nullptr || entry->detoured == nullptr) {
    PyErr_SetString(PyExc_AttributeError, "_serve and _detoured must be set before the first call");
    return nullptr;
  }
  // Either may be replaced by the call itself.
  PyObject* serve = entry->serve;
  Py_INCREF(serve);
  PyObject* result = PyObject_Call(serve, args, kwargs);
  Py_DECREF(serve);
  if (result != nullptr || !PyErr_ExceptionMatches(detour)) return result;

  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  Py_XDECREF(value);
  Py_XDECREF(traceback);
  PyObject* names = kwargs != nullptr ? kwargs : PyDict_New();
  if (kwargs != nullptr) Py_INCREF(kwargs);
  PyObject* detoured = entry->detoured;
  Py_INCREF(detoured);
  if (names != nullptr) result = PyObject_CallFunctionObjArgs(detoured, type, args, names, nullptr);
  Py_DECREF(detoured);
  Py_XDECREF(names);
  Py_DECREF(type);
  return result;
}

int Traverse(PyObject* self, visitproc visit, void* arg) {
  auto* entry = reinterpret_cast<Entry*>(self);
  Py_VISIT(entry->serve);
  Py_VISIT(entry->detoured);
  Py_VISIT(Py_TYPE(self));
  return 0;
}

int Clear(PyObject* self) {
  auto* entry = reinterpret_cast<Entry*>(self);
  Py_CLEAR(entry->serve);
  Py_CLEAR(entry->detoured);
  return 0;
}

void Dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Clear(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyMemberDef members[] = {
    {"_serve", T_OBJECT, offsetof(Entry, serve), 0, nullptr},
    {"_detoured", T_OBJECT, offsetof(Entry, detoured), 0, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_call, reinterpret_cast<void*>(Call)},
    {Py_tp_traverse, reinterpret_cast<void*>(Traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(Clear)},
    {Py_tp_dealloc, reinterpret_cast<void*>(Dealloc)},
    {Py_tp_members, members},
    {0, nullptr},
};

PyType_Spec spec = {"collage_jax._entry.Entry", sizeof(Entry), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};

PyModuleDef module_def = {PyModuleDef_HEAD_INIT, "collage_jax._entry", nullptr, -1, nullptr,
                          nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__entry() {
  PyObject* module = PyModule_Create(&module_def);
  if (module == nullptr) return nullptr;
  detour = PyErr_NewException("collage_jax._entry.Detour", nullptr, nullptr);
  PyObject* type = PyType_FromSpec(&spec);
  if (detour == nullptr || type == nullptr || PyModule_AddObjectRef(module, "Detour", detour) < 0 ||
      PyModule_AddObjectRef(module, "Entry", type) < 0) {
    Py_DECREF(module);
    return nullptr;
  }
  Py_DECREF(type);
  return module;
}
