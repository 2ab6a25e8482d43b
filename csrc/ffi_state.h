// What every native module needs to be an XLA FFI library: a state type, and no exception that gets out.
#pragma once

#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "xla/ffi/api/ffi.h"

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>

#include <cstdio>
#endif

namespace collage {

namespace ffi = xla::ffi;

// XLA orders calls that share arrays in ways that the thread sanitizer cannot see. While one of these exists, it takes what
// ended before as having happened before, in any extension: `stderr` is one address for all. Calls at one time stay apart.
class InXlasOrder {
 public:
#ifdef __SANITIZE_THREAD__
  InXlasOrder() { __tsan_acquire(&stderr); }
  ~InXlasOrder() { __tsan_release(&stderr); }
#else
  InXlasOrder() {}
#endif
};

// `T` becomes what the instantiate stage returns and the execute stage reads: `struct State : Plan, FfiState<State>`.
// XLA numbers such types anew for each platform and keeps the number in `id`, so that a type serves one platform only: for
// two of them, the state of one would be destroyed as something else.
template <typename T>
struct FfiState {
  inline static ffi::TypeId id = {};
  inline static ffi::TypeInfo* info() {
    static ffi::TypeInfo value = ffi::MakeTypeInfo<T>();
    return &value;
  }
};

// What an execute stage takes: what the instantiate stage returned, and any arrays.
template <typename T>
auto BindExecute() {
  return ffi::Ffi::Bind()
      .template Ctx<ffi::State<T>>()
      .RemainingArgs()
      .RemainingRets()
      .template Attrs<ffi::Dictionary>();  // decoded already, but a stage must take all
}

// An exception must not unwind into XLA, which is built without them: it becomes an error of the running program.
template <typename Function>
ffi::Error Guarded(Function&& function) {
  const InXlasOrder ordered;
  try {
    std::forward<Function>(function)();
    return ffi::Error::Success();
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory for what a kernel needs beside its arrays");
  } catch (const std::exception& error) {
    return ffi::Error(ffi::ErrorCode::kInvalidArgument, error.what());
  } catch (...) {
    return ffi::Error(ffi::ErrorCode::kInternal, "an unknown C++ exception");
  }
}

template <typename T, typename Function>
ffi::ErrorOr<std::unique_ptr<T>> GuardedState(Function&& function) {
  std::unique_ptr<T> state;
  ffi::Error error = Guarded([&] { state = std::forward<Function>(function)(); });
  if (error.failure()) return ffi::Unexpected(std::move(error));
  return state;
}

}  // namespace collage
