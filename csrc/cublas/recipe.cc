#include "recipe.h"

#include <cmath>
#include <initializer_list>
#include <limits>
#include <string>
#include <utility>

#include "../tokens.h"

namespace collage::cublas {
namespace {

constexpr int64_t kMost = std::numeric_limits<int32_t>::max();  // rows, columns or matrices, as in BLAS
constexpr int64_t kMostRanks = 64;

// What distances in the epilogue's own matrix are multiples of, by NVIDIA's description of
// CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD and _BATCH_STRIDE: in bits, and in elements.
constexpr int64_t kBits = 128, kElements = 8;

template <typename T>
T Named(Tokens& tokens, const std::string& key, std::initializer_list<std::pair<const char*, T>> known) {
  const std::string name = tokens.Take(key);
  std::string names;
  for (const auto& [candidate, value] : known) {
    if (name == candidate) return value;
    names += std::string(names.empty() ? "" : ", ") + candidate;
  }
  Reject(key + "=" + name, "one of " + names + " is needed");
}

DataType Type(Tokens& tokens, const std::string& key) {
  return Named<DataType>(tokens, key, {{"f16", kF16}, {"bf16", kBF16}, {"f32", kF32}, {"f64", kF64}});
}

double Factor(Tokens& tokens, const std::string& key) {
  const std::string text = tokens.Take(key);
  double number = 0;
  const auto [next, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || next != text.data() + text.size() || !std::isfinite(number))
    Reject(key + "=" + text, "a finite number is needed");
  return number;
}

// `rows` x `columns` as op() gives it, which lies the other way round if it is `transposed`.
Matrix Lying(const std::string& name, int64_t rows, int64_t columns, bool transposed, int64_t leading_dimension,
             int64_t stride) {
  if (transposed) std::swap(rows, columns);
  if (leading_dimension < rows)
    throw SpecError(name + " has columns of " + std::to_string(rows) + " elements at a distance of " +
                    std::to_string(leading_dimension));
  return {rows, columns, leading_dimension, stride};
}

Matrix Read(Tokens& tokens, const std::string& name, int64_t rows, int64_t columns, Operation& operation) {
  const std::vector<int64_t> numbers = tokens.Numbers(name, 3, 0);
  if (numbers[0] > 1) throw SpecError(name + " is transposed, 1, or not, 0; got " + std::to_string(numbers[0]));
  operation = numbers[0] == 1 ? kT : kN;
  return Lying(name, rows, columns, numbers[0] == 1, numbers[1], numbers[2]);
}

Matrix Aux(Tokens& tokens, const Recipe& recipe) {
  const std::vector<int64_t> numbers = tokens.Numbers("aux", 2, 0);
  const int64_t whole = recipe.has_bits() ? kBits : kElements;
  for (int64_t number : numbers)
    if (number % whole != 0)
      throw SpecError("aux has a distance of " + std::to_string(number) + ", a multiple of " + std::to_string(whole) +
                      " is needed");
  const int64_t rows = recipe.has_bits() ? (recipe.m + kBits - 1) / kBits * kBits : recipe.m;
  return Lying("aux", rows, recipe.n, false, numbers[0], numbers[1]);
}

void RequireTypes(const Recipe& recipe) {
  const bool is_wide = recipe.operand == kF32 || recipe.operand == kF64;
  if (recipe.result != recipe.operand && (is_wide || recipe.result != kF32))
    throw SpecError("a result has its operands' type, or is f32 where they are f16 or bf16");
  if ((recipe.compute == kCompute64F) != (recipe.operand == kF64))
    throw SpecError("compute=f64 is for operands in f64, and they for it alone");
  if (recipe.compute == kCompute32FFastTF32 && recipe.operand != kF32)
    throw SpecError("compute=tf32 is for operands in f32");
}

void RequireEpilogue(const Recipe& recipe) {
  if (recipe.operand == kF64 && recipe.epilogue != kDefault) throw SpecError("products in f64 have no epilogue");
  if (!recipe.has_gradient()) return;
  if (recipe.batch != 1) throw SpecError("a bias's gradient is of a single product");
  if (!recipe.has_aux() && recipe.beta != 0)
    throw SpecError("the sum over an operand goes with a product to which nothing is added");
}

}  // namespace

size_t ElementBytes(DataType type) { return type == kF64 ? 8 : type == kF32 ? 4 : 2; }

size_t Recipe::aux_bytes() const {
  const int64_t elements = aux.elements(batch);
  return static_cast<size_t>(has_bits() ? elements / 8 : elements * static_cast<int64_t>(ElementBytes(result)));
}

Recipe MakeRecipe(std::string_view spec) {
  Tokens tokens(spec);
  Recipe recipe = {};
  recipe.operand = Type(tokens, "operand");
  recipe.result = Type(tokens, "result");
  recipe.compute = Named<ComputeType>(
      tokens, "compute", {{"f32", kCompute32F}, {"tf32", kCompute32FFastTF32}, {"f64", kCompute64F}});
  const std::vector<int64_t> sizes = tokens.Numbers("sizes", 4, 1);
  for (int64_t size : sizes)
    if (size > kMost) throw SpecError("a size of " + std::to_string(size) + " is more than cuBLASLt can count");
  recipe.m = sizes[0], recipe.n = sizes[1], recipe.k = sizes[2], recipe.batch = sizes[3];
  recipe.a = Read(tokens, "a", recipe.m, recipe.k, recipe.transpose_a);
  recipe.b = Read(tokens, "b", recipe.k, recipe.n, recipe.transpose_b);
  const std::vector<int64_t> d = tokens.Numbers("d", 2, 0);
  recipe.d = Lying("d", recipe.m, recipe.n, false, d[0], d[1]);
  recipe.alpha = Factor(tokens, "alpha");
  recipe.beta = Factor(tokens, "beta");
  recipe.epilogue = Named<Epilogue>(tokens, "epilogue",
                                    {{"default", kDefault},
                                     {"bias", kBias},
                                     {"relu", kRelu},
                                     {"relu_bias", kReluBias},
                                     {"gelu", kGelu},
                                     {"gelu_bias", kGeluBias},
                                     {"gelu_aux", kGeluAux},
                                     {"gelu_aux_bias", kGeluAuxBias},
                                     {"drelu", kReluGradient},
                                     {"drelu_bgrad", kReluBiasGradient},
                                     {"dgelu", kGeluGradient},
                                     {"dgelu_bgrad", kGeluBiasGradient},
                                     {"bgrada", kBiasGradientA},
                                     {"bgradb", kBiasGradientB}});
  recipe.aux = recipe.has_aux() ? Aux(tokens, recipe) : Matrix{0, 0, 0, 0};
  for (const Matrix* matrix : {&recipe.a, &recipe.b, &recipe.d, &recipe.aux}) {
    RequireSize("a stack of matrices", {recipe.batch, matrix->stride});
    RequireSize("a matrix", {matrix->columns, matrix->leading_dimension});
  }
  const int64_t rank = tokens.Numbers("rank", 1, 0)[0];
  if (rank >= kMostRanks) Reject("rank=" + std::to_string(rank), "it is below " + std::to_string(kMostRanks));
  recipe.rank = static_cast<int>(rank);
  recipe.workspace = static_cast<size_t>(tokens.Numbers("workspace", 1, 0)[0]);
  tokens.RequireAllTaken();
  RequireTypes(recipe);
  RequireEpilogue(recipe);
  return recipe;
}

}  // namespace collage::cublas
