// Kernels as the driver has loaded them: each image once in the process, each kernel once for each device.
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "driver.h"

namespace collage::cuda {

class Loaded {
 public:
  Loaded(std::string image, std::string name) : image_(std::move(image)), name_(std::move(name)) {}

  // The kernel on the device whose context is current, loaded there if it is not yet, with room for `shared` bytes of
  // dynamic shared memory. Throws. Any number of threads may ask.
  Function OnThisDevice(const Driver& driver, unsigned shared);

 private:
  struct Place {
    Context context;
    Function function;
    unsigned shared;
  };

  Place& PlaceOf(const Driver& driver, Context context);

  const std::string image_, name_;
  std::mutex mutex_;
  Library library_ = nullptr;
  std::vector<Place> places_;
};

// The kernel called `name` of the compiled `image`, a cubin or PTX. Nothing is loaded yet; what this refers to stays.
Loaded& KernelOf(std::string_view image, std::string_view name);

}  // namespace collage::cuda
