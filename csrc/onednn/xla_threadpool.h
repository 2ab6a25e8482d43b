// oneDNN built with ONEDNN_CPU_RUNTIME=THREADPOOL asks its caller for threads: it gets XLA's own pool.
//
// No published wheel is built so. This class has run in FFI calls, nested and concurrent ones too, but not under
// oneDNN: that side has only been compiled.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <dnnl_threadpool.hpp>
#include <functional>
#include <memory>
#include <mutex>

#include "../ffi_state.h"

namespace collage::onednn {

// The calling thread is itself a thread of the pool. If it waited for tasks that nobody has begun, every thread of the
// pool could come to wait and none would be left to begin them: so it works on them itself, and waits only for those
// that another thread is already running.
class XlaThreadpool final : public dnnl::threadpool_interop::threadpool_iface {
 public:
  // Uses at most `limit` threads; 0: all there are.
  XlaThreadpool(ffi::ThreadPool pool, int limit) : pool_(pool), threads_(std::max<int>(1, pool.num_threads())) {
    if (limit > 0) threads_ = std::min(threads_, limit);
  }

  int get_num_threads() const override { return threads_; }
  // A true answer would make oneDNN use one thread, and handlers always run on a thread of the pool.
  bool get_in_parallel() const override { return false; }
  uint64_t get_flags() const override { return 0; }

  void parallel_for(int n, const std::function<void(int, int)>& function) override {
    auto work = std::make_shared<Work>(n, &function);
    const int helpers = std::min(n, threads_) - 1;
    for (int i = 0; i < helpers; ++i) pool_.Schedule([work] { work->Help(); });
    work->Help();
    work->Wait();
  }

 private:
  struct Work {
    Work(int count, const std::function<void(int, int)>* function) : count(count), function(function) {}

    void Help() {
      int done = 0;
      // A helper that comes late finds nothing left and never touches `function`, which is gone by then.
      for (int i; (i = next.fetch_add(1)) < count; ++done) (*function)(i, count);
      if (done == 0) return;
      std::lock_guard<std::mutex> lock(mutex);
      finished += done;
      if (finished == count) all_finished.notify_all();
    }

    void Wait() {
      std::unique_lock<std::mutex> lock(mutex);
      all_finished.wait(lock, [this] { return finished == count; });
    }

    const int count;
    const std::function<void(int, int)>* const function;
    std::atomic<int> next{0};
    std::mutex mutex;
    std::condition_variable all_finished;
    int finished = 0;
  };

  ffi::ThreadPool pool_;
  int threads_;
};

}  // namespace collage::onednn
