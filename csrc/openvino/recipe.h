// What a program says of a model: attributes of the custom call, decoded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api.h"

namespace collage::openvino {

// An array that goes in or comes out.
struct Array {
  ElementType type;
  std::vector<int64_t> dims;
  size_t bytes() const;
};

// `model` is OpenVINO's own text for a network. Its data is `literals` and then each of `weights`, every one aligned to
// kAlignment. `inputs` are called i0, i1, ... there, `outputs` o0, o1, ...
struct Recipe {
  std::string model;
  std::string literals;
  std::vector<Array> weights, inputs, outputs;
  int threads = 1;
};

constexpr size_t kAlignment = 64;

// `arrays` holds tokens weights=, inputs=, outputs= (f32:1x56x56x64,i32:,...) and threads=; `literals` is hexadecimal.
Recipe MakeRecipe(std::string_view model, std::string_view literals, std::string_view arrays);

}  // namespace collage::openvino
