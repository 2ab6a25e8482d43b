// An opened cuBLASLt, and its handles.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "abi.h"

namespace collage::cublas {

class Library {
 public:
  // Throws with the reason if there is no such library, or if it lacks a function.
  explicit Library(const std::string& path);

  const Functions* operator->() const { return &functions_; }

  std::string version() const;

  // The handle for a device, which is the calling thread's current one. Made on first use; for all threads.
  Handle* On(int device) const;

  // Throws what the library says of a call that did not succeed; `doing` completes "cuBLASLt cannot ...".
  void Check(Status status, const std::string& doing) const;

 private:
  Functions functions_ = {};
  mutable std::mutex mutex_;
  mutable std::map<int, Handle*> handles_;
};

// Opens the library at `path`, which new calls are made for from now on. It stays open as long as the process.
void Open(const std::string& path);

// The library that was opened last; throws if there is none.
const Library& Opened();

// An object of the library's, with what destroys it.
template <typename T>
using Owned = std::unique_ptr<T, Status (*)(T*)>;

template <typename T, typename... Arguments>
Owned<T> Make(const Library& library, const char* what, Status (*create)(T**, Arguments...), Status (*destroy)(T*),
              Arguments... arguments) {
  T* made = nullptr;
  library.Check(create(&made, arguments...), std::string("make ") + what);
  return {made, destroy};
}

}  // namespace collage::cublas
