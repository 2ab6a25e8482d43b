// A model as OpenVINO runs it, with its weights inside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "api.h"
#include "recipe.h"

namespace collage::openvino {

template <typename T>
struct Freed {
  void (*free)(T*) = nullptr;
  void operator()(T* object) const {
    if (object != nullptr) free(object);
  }
};
template <typename T>
using Owned = std::unique_ptr<T, Freed<T>>;

class Compiled {
 public:
  // `weights` are the bytes of the recipe's weights, which are copied.
  Compiled(std::shared_ptr<const Recipe> recipe, const std::vector<const void*>& weights);

  // Reads `inputs` and writes `outputs`, which are in the recipe's order. Calls may overlap.
  void Run(const std::vector<void*>& inputs, const std::vector<void*>& outputs);

 private:
  struct Request {
    Owned<InferRequest> request;
    std::vector<void*> bound;  // the addresses that it has now
  };

  std::unique_ptr<Request> Borrow();
  void Bind(Request& request, size_t place, const char* prefix, size_t number, const Array& array, void* address) const;

  std::shared_ptr<const Recipe> recipe_;
  std::vector<std::byte> data_;  // literals and weights: OpenVINO keeps pointers to what it need not repack
  Owned<CompiledModel> model_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Request>> idle_;
};

}  // namespace collage::openvino
