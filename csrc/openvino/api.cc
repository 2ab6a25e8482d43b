#include "api.h"

#include <dlfcn.h>

#include <atomic>
#include <mutex>
#include <stdexcept>

namespace collage::openvino {
namespace {

std::mutex opening;
std::atomic<const Api*> opened = nullptr;

template <typename Function>
void Find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) throw std::runtime_error(std::string("the library has no function ") + name);
}

}  // namespace

void Open(const std::string& path) {
  std::lock_guard<std::mutex> lock(opening);
  if (opened != nullptr) return;
  // Its symbols stay out of the process-wide scope, where they could stand in for those of another oneDNN.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(dlerror());
  Api found = {};
  Find(library, "ov_core_create", found.core_create);
  Find(library, "ov_core_free", found.core_free);
  Find(library, "ov_core_read_model_from_memory_buffer", found.read_model);
  Find(library, "ov_model_free", found.model_free);
  Find(library, "ov_core_compile_model", found.compile_model);
  Find(library, "ov_compiled_model_free", found.compiled_model_free);
  Find(library, "ov_compiled_model_create_infer_request", found.create_infer_request);
  Find(library, "ov_infer_request_free", found.infer_request_free);
  Find(library, "ov_infer_request_set_tensor", found.set_tensor);
  Find(library, "ov_infer_request_infer", found.infer);
  Find(library, "ov_tensor_create_from_host_ptr", found.tensor_from_host);
  Find(library, "ov_tensor_free", found.tensor_free);
  Find(library, "ov_get_error_info", found.error_info);
  found.last_error = reinterpret_cast<const char* (*)()>(dlsym(library, "ov_get_last_err_msg"));
  opened = new Api(found);  // as long as the process, as the library
}

const Api& Library() {
  const Api* api = opened;
  if (api == nullptr)
    throw std::runtime_error("OpenVINO was not opened in this process: import collage_jax and use its backend");
  return *api;
}

void Check(Status status, const char* doing) {
  if (status == 0) return;
  const Api& library = Library();
  std::string message = std::string("OpenVINO cannot ") + doing + ": " + library.error_info(status);
  if (library.last_error != nullptr)
    if (const char* last = library.last_error(); last != nullptr) message += std::string(": ") + last;
  throw std::runtime_error(message);
}

}  // namespace collage::openvino
