#include "library.h"

#include <dlfcn.h>

#include <atomic>
#include <stdexcept>

namespace collage::cublas {
namespace {

std::mutex opening;
std::atomic<const Library*> opened = nullptr;

template <typename Function>
void Find(void* library, const std::string& path, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr)
    throw std::runtime_error(path + " has no function " + name + ": cuBLASLt of CUDA 12 or newer is needed");
}

}  // namespace

Library::Library(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(dlerror());
#define FIND(name) Find(library, path, "cublasLt" #name, functions_.name)
  FIND(GetVersion);
  FIND(GetStatusString);
  FIND(Create);
  FIND(MatmulDescCreate);
  FIND(MatmulDescDestroy);
  FIND(MatmulDescSetAttribute);
  FIND(MatrixLayoutCreate);
  FIND(MatrixLayoutDestroy);
  FIND(MatrixLayoutSetAttribute);
  FIND(MatmulPreferenceCreate);
  FIND(MatmulPreferenceDestroy);
  FIND(MatmulPreferenceSetAttribute);
  FIND(MatmulAlgoGetHeuristic);
  FIND(Matmul);
#undef FIND
}

std::string Library::version() const { return std::to_string(functions_.GetVersion()); }

Handle* Library::On(int device) const {
  std::lock_guard<std::mutex> lock(mutex_);
  Handle*& handle = handles_[device];
  // Never destroyed: at the end of the process the driver may be gone already.
  if (handle == nullptr) Check(functions_.Create(&handle), "start on device " + std::to_string(device));
  return handle;
}

void Library::Check(Status status, const std::string& doing) const {
  if (status != kSuccess)
    throw std::runtime_error("cuBLASLt " + version() + " cannot " + doing + ": " + functions_.GetStatusString(status));
}

void Open(const std::string& path) {
  std::lock_guard<std::mutex> lock(opening);
  opened = new Library(path);  // earlier ones stay: calls that were made for them do
}

const Library& Opened() {
  const Library* library = opened;
  if (library == nullptr)
    throw std::runtime_error("cuBLASLt was not opened in this process: import collage_jax and use its backend");
  return *library;
}

}  // namespace collage::cublas
