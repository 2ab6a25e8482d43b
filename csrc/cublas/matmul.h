// One product, described to cuBLASLt once and run on any device.
#pragma once

#include <map>
#include <mutex>
#include <utility>

#include "library.h"
#include "recipe.h"

namespace collage::cublas {

// XLA places its arrays at multiples of it. A part of one may lie at any element.
constexpr size_t kAlignment = 128;

// The workspace must begin at a multiple of it.
constexpr size_t kWorkspaceAlignment = 256;

// Where the arrays lie. `c` is null where nothing is added; `vector` is the bias, or where its gradient goes, or null;
// `aux` is what the epilogue reads or writes besides, or null.
struct Addresses {
  const void *a, *b, *c;
  void *vector, *aux, *d, *workspace;
};

class Matmul {
 public:
  Matmul(const Library& library, Recipe recipe);

  const Recipe& recipe() const { return recipe_; }

  // Chooses the algorithm on a device, the calling thread's current one, for arrays at multiples of kAlignment.
  void Prepare(int device) { ChoiceOn(device, kAlignment); }

  // Queues the product on a stream of that device. May overlap with itself.
  void Run(const Addresses& addresses, int device, void* stream);

 private:
  struct Choice {
    Algorithm algorithm;
    size_t workspace;
  };

  Owned<MatmulDesc> Describe(const void* vector, const void* aux) const;
  Owned<Layout> LayoutOf(DataType type, const Matrix& matrix) const;
  const Choice& ChoiceOn(int device, size_t alignment);
  Choice Choose(int device, size_t alignment) const;

  const Library& library_;
  const Recipe recipe_;
  const Owned<MatmulDesc> plain_;  // used where neither vector nor aux takes part: a description holds their addresses
  const Owned<Layout> a_, b_, d_;
  std::mutex mutex_;
  std::map<std::pair<int, size_t>, Choice> choices_;  // by device and alignment
};

}  // namespace collage::cublas
