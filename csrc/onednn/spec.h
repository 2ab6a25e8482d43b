// The text form of one call: space-separated key=value tokens, for example
//   op=matmul src=f32:8x64:64x1 wei=f32:64x32:any dst=f32:8x32:32x1 post=eltwise:relu:0:0
#pragma once

#include <cstdint>
#include <dnnl.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "parse.h"

namespace collage::onednn {

class Spec {
 public:
  explicit Spec(std::string_view text);

  const std::string& op() const { return op_; }

  bool Has(std::string_view key) const;
  std::string_view Text(std::string_view key);  // throws if the key is missing
  std::string_view TextOr(std::string_view key, std::string_view fallback);

  int Axis(std::string_view key, const dnnl::memory::desc& desc);  // a dimension of `desc`
  int Threads();  // threads=, of every operation: 0 if it is not given
  float Float(std::string_view key);
  float FloatOr(std::string_view key, float fallback);
  bool FlagOr(std::string_view key, bool fallback);  // 0 or 1
  bool ChoosesInner();  // inner=any: the library chooses the layout of the data, changed to and from within the call
  // One number per spatial dimension of `src`, none below `least`: the library divides by them unasked.
  dnnl::memory::dims Window(std::string_view key, const dnnl::memory::desc& src, int64_t least);
  std::vector<float> Floats(std::string_view key);
  dnnl::memory::desc Memory(std::string_view key, bool allow_any = false);
  dnnl::memory::desc MemoryWithStrides(std::string_view key, std::string_view strides_key);
  std::vector<dnnl::memory::desc> Memories(std::string_view key);  // joined by commas

  // Throws unless every token was asked for: a misspelt option must not be silently without effect.
  void RequireAllRead() const;

 private:
  struct Token {
    std::string key, value;
    bool read = false;
  };
  Token* Find(std::string_view key);

  std::string op_;
  std::vector<Token> tokens_;
};

}  // namespace collage::onednn
