// Compiled models by what they were made of.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "compiled.h"
#include "recipe.h"

namespace collage::openvino {

// What a model and its weights are, by content: 128 bits of a hash.
using Token = std::array<uint64_t, 2>;

Token TokenOf(const Recipe& recipe, const std::vector<const void*>& weights);

// Where the weights are, asked for only where a model has to be made.
using WeightsOf = std::function<std::vector<const void*>()>;

// A recipe with the models last made from it. It keeps as many as a function keeps sets of frozen arguments, and some.
class Models {
 public:
  explicit Models(Recipe recipe)
      : recipe_(std::make_shared<const Recipe>(std::move(recipe))), own_token_(TokenOf(*recipe_, {})) {}

  const Recipe& recipe() const { return *recipe_; }
  // That of the model without weights.
  const Token& own_token() const { return own_token_; }

  // The model of these weights, made now if nobody in the process has it. It lives as long as one of those who asked
  // for it, or as it is among the last that anybody asked for.
  std::shared_ptr<Compiled> Find(const Token& token, const WeightsOf& weights);

 private:
  std::shared_ptr<const Recipe> recipe_;
  Token own_token_;
  std::mutex mutex_;
  std::vector<std::pair<Token, std::shared_ptr<Compiled>>> kept_;  // the latest first
};

}  // namespace collage::openvino
