#include "matmul.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace collage::cublas {
namespace {

// alpha or beta, in the type that the library reads them in.
struct Scalar {
  Scalar(double value, DataType type) : wide(value), narrow(static_cast<float>(value)), type(type) {}
  const void* address() const { return type == kF64 ? static_cast<const void*>(&wide) : &narrow; }
  double wide;
  float narrow;
  DataType type;
};

// The largest power of two, at most kAlignment, that all of the addresses are multiples of.
size_t Alignment(const Addresses& addresses) {
  uintptr_t bits = kAlignment;
  const void* const all[] = {addresses.a, addresses.b, addresses.c, addresses.vector, addresses.aux, addresses.d};
  for (const void* address : all) bits |= reinterpret_cast<uintptr_t>(address);
  return bits & (~bits + 1);
}

}  // namespace

Matmul::Matmul(const Library& library, Recipe recipe)
    : library_(library),
      recipe_(recipe),
      plain_(Describe(nullptr, nullptr)),
      a_(LayoutOf(recipe.operand, recipe.a)),
      b_(LayoutOf(recipe.operand, recipe.b)),
      d_(LayoutOf(recipe.result, recipe.d)) {}

Owned<MatmulDesc> Matmul::Describe(const void* vector, const void* aux) const {
  auto made = Make(library_, "a description of a product", library_->MatmulDescCreate, library_->MatmulDescDestroy,
                   recipe_.compute, recipe_.scale());
  const auto set = [&](DescAttribute attribute, const auto& value) {
    library_.Check(library_->MatmulDescSetAttribute(made.get(), attribute, &value, sizeof value), "describe a product");
  };
  set(kTransA, recipe_.transpose_a);
  set(kTransB, recipe_.transpose_b);
  set(kEpilogueAttribute, recipe_.epilogue);
  if (vector != nullptr) set(kBiasPointer, vector);
  if (recipe_.has_aux()) {
    set(kAuxLeadingDimension, recipe_.aux.leading_dimension);
    set(kAuxBatchStride, recipe_.aux.stride);
  }
  if (aux != nullptr) set(kAuxPointer, aux);
  return made;
}

Owned<Layout> Matmul::LayoutOf(DataType type, const Matrix& matrix) const {
  auto made = Make(library_, "a description of a matrix", library_->MatrixLayoutCreate, library_->MatrixLayoutDestroy,
                   type, static_cast<uint64_t>(matrix.rows), static_cast<uint64_t>(matrix.columns),
                   matrix.leading_dimension);
  const auto set = [&](LayoutAttribute attribute, const auto& value) {
    library_.Check(library_->MatrixLayoutSetAttribute(made.get(), attribute, &value, sizeof value),
                   "describe a matrix");
  };
  set(kBatchCount, static_cast<int32_t>(recipe_.batch));
  set(kBatchStride, matrix.stride);
  return made;
}

const Matmul::Choice& Matmul::ChoiceOn(int device, size_t alignment) {
  std::lock_guard<std::mutex> lock(mutex_);
  const std::pair<int, size_t> key(device, alignment);
  const auto found = choices_.find(key);
  return found != choices_.end() ? found->second : choices_.emplace(key, Choose(device, alignment)).first->second;
}

Matmul::Choice Matmul::Choose(int device, size_t alignment) const {
  const auto preference = Make(library_, "preferences", library_->MatmulPreferenceCreate,
                               library_->MatmulPreferenceDestroy);
  const auto set = [&](PreferenceAttribute attribute, const auto& value) {
    library_.Check(library_->MatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof value),
                   "take preferences");
  };
  set(kMaxWorkspace, static_cast<uint64_t>(recipe_.workspace));
  for (const PreferenceAttribute attribute : {kMinAlignmentA, kMinAlignmentB, kMinAlignmentC, kMinAlignmentD})
    set(attribute, static_cast<uint32_t>(alignment));
  // Of these addresses only the alignment counts here.
  const auto aligned = [&](bool is_there) { return is_there ? reinterpret_cast<const void*>(alignment) : nullptr; };
  const auto described = Describe(aligned(recipe_.has_bias() || recipe_.has_gradient()), aligned(recipe_.has_aux()));
  std::vector<Heuristic> found(static_cast<size_t>(recipe_.rank) + 1);
  int count = 0;
  library_.Check(library_->MatmulAlgoGetHeuristic(library_.On(device), described.get(), a_.get(), b_.get(), d_.get(),
                                                  d_.get(), preference.get(), recipe_.rank + 1, found.data(), &count),
                 "choose an algorithm");
  if (count <= recipe_.rank)
    throw std::runtime_error("cuBLASLt knows " + std::to_string(count) + " algorithms for this product, and number " +
                             std::to_string(recipe_.rank + 1) + " is asked for");
  const Heuristic& chosen = found[static_cast<size_t>(recipe_.rank)];
  library_.Check(chosen.state, "use the algorithm that it chose");
  return {chosen.algorithm, chosen.workspace};
}

void Matmul::Run(const Addresses& addresses, int device, void* stream) {
  const Choice& choice = ChoiceOn(device, Alignment(addresses));
  const bool is_plain = addresses.vector == nullptr && addresses.aux == nullptr;
  const auto own = is_plain ? Owned<MatmulDesc>(nullptr, nullptr) : Describe(addresses.vector, addresses.aux);
  const Scalar alpha(recipe_.alpha, recipe_.scale()), beta(recipe_.beta, recipe_.scale());
  library_.Check(library_->Matmul(library_.On(device), own ? own.get() : plain_.get(), alpha.address(), addresses.a,
                                  a_.get(), addresses.b, b_.get(), beta.address(),
                                  addresses.c != nullptr ? addresses.c : addresses.d, d_.get(), addresses.d, d_.get(),
                                  &choice.algorithm, addresses.workspace, choice.workspace, stream),
                 "multiply");
}

}  // namespace collage::cublas
