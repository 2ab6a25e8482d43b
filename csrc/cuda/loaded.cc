#include "loaded.h"

#include <algorithm>
#include <map>
#include <memory>
#include <stdexcept>

namespace collage::cuda {
namespace {

// Never destroyed, and no image is ever unloaded: the driver may be gone before XLA's last program is.
struct Table {
  std::mutex mutex;
  std::map<std::pair<std::string, std::string>, std::unique_ptr<Loaded>> kernels;
};

Table& TheTable() {
  static auto* table = new Table;
  return *table;
}

}  // namespace

Loaded& KernelOf(std::string_view image, std::string_view name) {
  std::pair<std::string, std::string> key(image, name);
  std::lock_guard<std::mutex> lock(TheTable().mutex);
  auto& kernel = TheTable().kernels[key];
  if (!kernel) kernel = std::make_unique<Loaded>(key.first, key.second);
  return *kernel;
}

Function Loaded::OnThisDevice(const Driver& driver, unsigned shared) {
  Context context = nullptr;
  Check(driver, driver.cuCtxGetCurrent(&context), "asking for the current CUDA context");
  if (context == nullptr) throw std::runtime_error("kernel " + name_ + " needs a current CUDA context: there is none");
  std::lock_guard<std::mutex> lock(mutex_);
  Place& place = PlaceOf(driver, context);
  // Without leave it is 48 KiB, less what the kernel has for itself, which nothing here knows.
  if (shared > place.shared) {
    Check(driver, driver.cuFuncSetAttribute(place.function, kMaxDynamicShared, static_cast<int>(shared)),
          "giving kernel " + name_ + " " + std::to_string(shared) + " bytes of shared memory");
    place.shared = shared;
  }
  return place.function;
}

Loaded::Place& Loaded::PlaceOf(const Driver& driver, Context context) {
  const auto found =
      std::find_if(places_.begin(), places_.end(), [&](const Place& place) { return place.context == context; });
  if (found != places_.end()) return *found;
  if (library_ == nullptr) {
    Library library = nullptr;
    Check(driver,
          driver.cuLibraryLoadData(&library, image_.c_str(), nullptr, nullptr, 0, nullptr, nullptr, 0),
          "loading the image of kernel " + name_);
    library_ = library;
  }
  Kernel kernel = nullptr;
  Check(driver, driver.cuLibraryGetKernel(&kernel, library_, name_.c_str()), "finding kernel " + name_);
  Function function = nullptr;
  Check(driver, driver.cuKernelGetFunction(&function, kernel), "loading kernel " + name_ + " on the device");
  places_.push_back({context, function, 0});
  return places_.back();
}

}  // namespace collage::cuda
