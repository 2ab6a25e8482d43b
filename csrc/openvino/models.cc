#include "models.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <string_view>

namespace collage::openvino {
namespace {

constexpr size_t kKept = 4;

// Moves 64 bits to all others: the finaliser of MurmurHash3 (Appleby), which is in the public domain.
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 33)) * 0xff51afd7ed558ccd;
  x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53;
  return x ^ (x >> 33);
}

class Hash {
 public:
  void Add(const void* memory, size_t bytes) {
    const auto* at = static_cast<const unsigned char*>(memory);
    AddWord(bytes);
    for (; bytes >= 8; bytes -= 8, at += 8) {
      uint64_t word;
      std::memcpy(&word, at, 8);
      AddWord(word);
    }
    uint64_t rest = 0;
    std::memcpy(&rest, at, bytes);
    AddWord(rest);
  }
  Token token() const { return {Mix(a_), Mix(b_ + a_)}; }

 private:
  void AddWord(uint64_t word) {
    a_ = (a_ ^ word) * 0x9e3779b97f4a7c15;
    a_ ^= a_ >> 29;
    b_ = (b_ + word) * 0xd6e8feb86659fd93;
    b_ ^= b_ >> 32;
  }
  uint64_t a_ = 0x243f6a8885a308d3, b_ = 0x13198a2e03707344;
};

// Never freed: at the end of the process the library's own globals may be gone already.
struct Process {
  std::mutex mutex;
  std::map<Token, std::weak_ptr<Compiled>> known;
  std::vector<std::shared_ptr<Compiled>> latest;  // so that what was just prepared is there when it runs
};

Process& TheProcess() {
  static auto* process = new Process;
  return *process;
}

std::shared_ptr<Compiled> Everywhere(const Token& token, const std::shared_ptr<const Recipe>& recipe,
                                     const WeightsOf& weights) {
  Process& process = TheProcess();
  std::lock_guard<std::mutex> lock(process.mutex);
  if (const auto found = process.known.find(token); found != process.known.end())
    if (std::shared_ptr<Compiled> model = found->second.lock()) return model;
  auto model = std::make_shared<Compiled>(recipe, weights());
  process.known[token] = model;
  process.latest.insert(process.latest.begin(), model);
  if (process.latest.size() > kKept) process.latest.pop_back();
  for (auto entry = process.known.begin(); entry != process.known.end();)
    entry = entry->second.expired() ? process.known.erase(entry) : std::next(entry);
  return model;
}

}  // namespace

Token TokenOf(const Recipe& recipe, const std::vector<const void*>& weights) {
  Hash hash;
  hash.Add(recipe.model.data(), recipe.model.size());
  hash.Add(recipe.literals.data(), recipe.literals.size());
  for (const int64_t number : {static_cast<int64_t>(recipe.threads), static_cast<int64_t>(recipe.inputs.size())})
    hash.Add(&number, sizeof number);
  for (size_t i = 0; i < weights.size(); ++i) hash.Add(weights[i], recipe.weights[i].bytes());
  return hash.token();
}

std::shared_ptr<Compiled> Models::Find(const Token& token, const WeightsOf& weights) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto own = std::find_if(kept_.begin(), kept_.end(), [&](const auto& entry) { return entry.first == token; });
  if (own != kept_.end()) {
    std::rotate(kept_.begin(), own, own + 1);
    return kept_.front().second;
  }
  std::shared_ptr<Compiled> model = Everywhere(token, recipe_, weights);
  kept_.emplace(kept_.begin(), token, model);
  if (kept_.size() > kKept) kept_.pop_back();
  return model;
}

}  // namespace collage::openvino
