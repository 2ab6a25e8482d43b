#include "driver.h"

#include <dlfcn.h>

#include <mutex>
#include <stdexcept>

namespace collage::cuda {
namespace {

std::mutex mutex;
const Driver* driver = nullptr;  // never closed: XLA's threads may outlive the process's end

template <typename F>
void Find(void* library, const char* name, F*& function) {
  function = reinterpret_cast<F*>(dlsym(library, name));
  if (function == nullptr)
    throw std::runtime_error(std::string("the NVIDIA driver has no ") + name + ": it must support CUDA 12.0 or newer");
}

const Driver* Open(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(std::string("no NVIDIA driver can be opened: ") + dlerror());
  Driver found;
#define FIND(name) Find(library, #name, found.name)
  FIND(cuGetErrorName);
  FIND(cuGetErrorString);
  FIND(cuDriverGetVersion);
  FIND(cuCtxGetCurrent);
  FIND(cuCtxPushCurrent_v2);
  FIND(cuCtxPopCurrent_v2);
  FIND(cuLibraryLoadData);
  FIND(cuLibraryGetKernel);
  FIND(cuKernelGetFunction);
  FIND(cuFuncSetAttribute);
  FIND(cuLaunchKernel);
  FIND(cuStreamGetCtx);
  FIND(cuEventCreate);
  FIND(cuEventRecord);
  FIND(cuEventSynchronize);
  FIND(cuEventElapsedTime);
  FIND(cuMemsetD8Async);
#undef FIND
  return new Driver(found);
}

}  // namespace

const Driver& TheDriver() {
  std::lock_guard<std::mutex> lock(mutex);
  if (driver == nullptr) driver = Open("libcuda.so.1");
  return *driver;
}

void OpenDriver(const std::string& path) {
  std::lock_guard<std::mutex> lock(mutex);
  if (driver != nullptr) throw std::logic_error("a process has one driver, and this one has opened its own already");
  driver = Open(path.c_str());
}

void Check(const Driver& driver, Result result, const std::string& what) {
  if (result == 0) return;
  const char *name = nullptr, *text = nullptr;
  driver.cuGetErrorName(result, &name);
  driver.cuGetErrorString(result, &text);
  throw std::runtime_error(what + " failed: " + (name ? name : "CUDA error " + std::to_string(result)) +
                           (text ? std::string(" (") + text + ")" : ""));
}

}  // namespace collage::cuda
