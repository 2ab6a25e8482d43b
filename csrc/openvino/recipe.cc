#include "recipe.h"

#include <numeric>

#include "../tokens.h"

namespace collage::openvino {
namespace {

size_t ElementBytes(ElementType type) { return type == kF32 || type == kI32 ? 4 : 1; }

ElementType TypeNamed(std::string_view name, const std::string& token) {
  if (name == "f32") return kF32;
  if (name == "i32") return kI32;
  if (name == "pred") return kBoolean;
  Reject(token, "a type is f32, i32 or pred");
}

Array ArrayOf(std::string_view text, const std::string& token) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) Reject(token, "an array is type:AxBxC");
  Array array{TypeNamed(text.substr(0, colon), token), {}};
  std::string_view sizes = text.substr(colon + 1);
  int64_t elements = 1;
  while (!sizes.empty()) {
    const size_t end = std::min(sizes.find('x'), sizes.size());
    int64_t size = 0;
    const auto [last, error] = std::from_chars(sizes.data(), sizes.data() + end, size);
    if (error != std::errc() || last != sizes.data() + end || size < 1 || size > kLargest / elements)
      Reject(token, "sizes are positive, and not too many elements");
    elements *= size;
    array.dims.push_back(size);
    sizes.remove_prefix(std::min(end + 1, sizes.size()));
  }
  return array;
}

std::vector<Array> Arrays(Tokens& tokens, const std::string& key) {
  std::vector<Array> arrays;
  if (!tokens.Has(key)) return arrays;
  const std::string text = tokens.Take(key), token = key + "=" + text;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    arrays.push_back(ArrayOf(std::string_view(text).substr(begin, end - begin), token));
    begin = end + 1;
  }
  return arrays;
}

int Digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  throw SpecError("literals are hexadecimal");
}

}  // namespace

size_t Array::bytes() const {
  return std::accumulate(dims.begin(), dims.end(), ElementBytes(type),
                         [](size_t product, int64_t size) { return product * static_cast<size_t>(size); });
}

Recipe MakeRecipe(std::string_view model, std::string_view literals, std::string_view arrays) {
  Tokens tokens(arrays);
  Recipe recipe;
  recipe.model = model;
  if (literals.size() % 2 != 0) throw SpecError("literals are hexadecimal");
  for (size_t i = 0; i < literals.size(); i += 2)
    recipe.literals.push_back(static_cast<char>(Digit(literals[i]) * 16 + Digit(literals[i + 1])));
  recipe.weights = Arrays(tokens, "weights");
  recipe.inputs = Arrays(tokens, "inputs");
  recipe.outputs = Arrays(tokens, "outputs");
  recipe.threads = static_cast<int>(tokens.Numbers("threads", 1, 1)[0]);
  tokens.RequireAllTaken();
  return recipe;
}

}  // namespace collage::openvino
