// The memory for a program's own arrays: one block, in which arrays that are never needed at once share places.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

namespace collage::program {

struct Lifetime {
  size_t bytes;
  size_t first, last;  // steps: where it is made, and where it is read for the last time
};

struct Layout {
  std::vector<size_t> offsets;  // one for each lifetime
  size_t bytes = 0;
};

Layout Arrange(const std::vector<Lifetime>& lifetimes);

// Blocks of one size, kept and lent: fresh memory would have to be mapped page by page in every call.
class Arena {
 public:
  explicit Arena(size_t bytes) : bytes_(bytes) {}

  // Gives its block back when it goes.
  class Loan {
   public:
    explicit Loan(Arena* arena);
    ~Loan();
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    std::byte* data() const { return block_.get(); }

   private:
    friend class Arena;
    struct Free {
      void operator()(std::byte* block) const;
    };
    using Block = std::unique_ptr<std::byte, Free>;
    Arena* arena_;
    Block block_;
  };

 private:
  Loan::Block Make() const;

  size_t bytes_;
  std::mutex mutex_;  // of the idle blocks only
  std::vector<Loan::Block> idle_;
};

}  // namespace collage::program
