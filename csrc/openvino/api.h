// OpenVINO's C interface, found in a library that is opened at run time: one build serves with and without OpenVINO.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace collage::openvino {

// As in openvino/c: opaque objects, a shape, and the numbers of the element types that are used here. The library's
// functions take them since version 2022.1.
struct Core;
struct Model;
struct CompiledModel;
struct InferRequest;
struct Tensor;
struct Shape {
  int64_t rank;
  int64_t* dims;
};
using Status = int;
enum ElementType : unsigned { kBoolean = 1, kF32 = 4, kI32 = 9, kU8 = 16 };

struct Api {
  Status (*core_create)(Core**);
  void (*core_free)(Core*);
  Status (*read_model)(const Core*, const char* text, size_t length, const Tensor* weights, Model**);
  void (*model_free)(Model*);
  Status (*compile_model)(const Core*, const Model*, const char* device, size_t arguments, CompiledModel**, ...);
  void (*compiled_model_free)(CompiledModel*);
  Status (*create_infer_request)(const CompiledModel*, InferRequest**);
  void (*infer_request_free)(InferRequest*);
  Status (*set_tensor)(InferRequest*, const char* name, const Tensor*);
  Status (*infer)(InferRequest*);
  Status (*tensor_from_host)(ElementType, Shape, void*, Tensor**);
  void (*tensor_free)(Tensor*);
  const char* (*error_info)(Status);
  const char* (*last_error)();  // null where the library has no such function
};

// Opens the library at `path`; throws with the reason if that fails. Again with any path does nothing.
void Open(const std::string& path);

// The opened library; throws if there is none.
const Api& Library();

// Throws what the library says of a call that did not succeed; `doing` completes "OpenVINO cannot ...".
void Check(Status status, const char* doing);

}  // namespace collage::openvino
