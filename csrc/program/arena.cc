#include "arena.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>

#include "../huge_pages.h"
#include "../scratch.h"

namespace collage::program {

// Each array goes to the lowest place that is free throughout its lifetime, large arrays first, for small ones fit into
// what those leave.
Layout Arrange(const std::vector<Lifetime>& lifetimes) {
  std::vector<size_t> order(lifetimes.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });
  Layout layout;
  layout.offsets.resize(lifetimes.size());
  std::vector<size_t> placed;
  for (const size_t index : order) {
    const Lifetime& own = lifetimes[index];
    if (own.bytes == 0) break;  // so are all that follow: numbers that a text leaves out
    std::vector<std::pair<size_t, size_t>> taken;  // by arrays that live at the same time: begin and end
    for (const size_t other : placed)
      if (lifetimes[other].first <= own.last && own.first <= lifetimes[other].last)
        taken.emplace_back(layout.offsets[other], layout.offsets[other] + AlignUp(lifetimes[other].bytes));
    std::sort(taken.begin(), taken.end());
    size_t offset = 0;
    for (const auto& [begin, end] : taken) {
      if (offset + AlignUp(own.bytes) <= begin) break;
      offset = std::max(offset, end);
    }
    layout.offsets[index] = offset;
    layout.bytes = std::max(layout.bytes, offset + AlignUp(own.bytes));
    placed.push_back(index);
  }
  return layout;
}

void Arena::Loan::Free::operator()(std::byte* block) const { std::free(block); }

Arena::Loan::Block Arena::Make() const {
  const size_t alignment = bytes_ >= kHugePage ? kHugePage : kScratchAlignment;
  const size_t rounded = (std::max<size_t>(bytes_, 1) + alignment - 1) / alignment * alignment;
  Loan::Block block(static_cast<std::byte*>(std::aligned_alloc(alignment, rounded)));
  if (!block) throw std::bad_alloc();
  // Fewer entries in the processor's table of pages. Without them it works as well.
  if (alignment == kHugePage) AskForHugePages(block.get(), rounded);
  return block;
}

Arena::Loan::Loan(Arena* arena) : arena_(arena) {
  {
    std::lock_guard<std::mutex> lock(arena_->mutex_);
    if (!arena_->idle_.empty()) {
      block_ = std::move(arena_->idle_.back());
      arena_->idle_.pop_back();
    }
  }
  if (!block_) block_ = arena_->Make();
}

Arena::Loan::~Loan() {
  std::lock_guard<std::mutex> lock(arena_->mutex_);
  arena_->idle_.push_back(std::move(block_));
}

}  // namespace collage::program
