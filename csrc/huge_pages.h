// Huge pages for fresh memory. What XLA needs between the operations of a large program it gets anew from the operating
// system in each call, and gives back at its end: with pages of 4 KiB a call takes a fault for each of them, which costs
// a training step a fifth of its time.
#pragma once

#include <cstddef>

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <mutex>
#endif

namespace collage {

constexpr size_t kHugePage = size_t{1} << 21;

#if defined(__linux__) && defined(MADV_HUGEPAGE)

// False if the system has none, or a part of the memory is not there.
inline bool AskForHugePages(void* begin, size_t bytes) { return madvise(begin, bytes, MADV_HUGEPAGE) == 0; }

// Smaller arrays are not asked about: a program with much memory has larger ones, too.
constexpr size_t kWorthAsking = size_t{1} << 20;

struct Mapping {
  uintptr_t begin = 0, end = 0;
  bool Has(uintptr_t address) const { return begin <= address && address < end; }
};

// The one that `address` is in, of those that this process has; an empty one if none is found.
inline Mapping MappingOf(uintptr_t address) {
  Mapping found;
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return found;
  char line[512];  // a longer one is read in pieces, and the second piece is no range
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    Mapping next;
    if (std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &next.begin, &next.end) == 2 && next.Has(address)) {
      found = next;
      break;
    }
  }
  std::fclose(maps);
  return found;
}

// True if the page in the middle of the array was never written to.
inline bool IsFresh(const void* data, size_t bytes) {
  static const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t middle = (reinterpret_cast<uintptr_t>(data) + bytes / 2) / page * page;
  unsigned char is_resident = 1;
  return mincore(reinterpret_cast<void*>(middle), page, &is_resident) == 0 && (is_resident & 1) == 0;
}

// Asks for huge pages, if the array is large and in fresh memory, for all of the mapping that it is in: other arrays of
// the same program are there. Where the system gives none, nothing changes.
inline void PreferHugePages(const void* data, size_t bytes) {
  if (bytes < kWorthAsking || !IsFresh(data, bytes)) return;
  static std::mutex mutex;
  static Mapping last;  // the next call tends to be given the same addresses
  static bool is_refused = false;
  const auto advised = [](const Mapping& mapping) {
    return AskForHugePages(reinterpret_cast<void*>(mapping.begin), mapping.end - mapping.begin);
  };
  const auto address = reinterpret_cast<uintptr_t>(data);
  const std::lock_guard<std::mutex> lock(mutex);
  if (is_refused || (last.Has(address) && advised(last))) return;
  last = MappingOf(address);
  if (last.end - last.begin >= kHugePage && !advised(last)) is_refused = errno == EINVAL;
}

#else

inline bool AskForHugePages(void*, size_t) { return false; }
inline void PreferHugePages(const void*, size_t) {}

#endif

}  // namespace collage
