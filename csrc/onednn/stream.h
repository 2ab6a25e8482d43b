// What a primitive is executed on: the library's own threads, or XLA's if the library was built to be lent some.
#pragma once

#include <dnnl.hpp>

#include "../ffi_state.h"
#include "recipe.h"

#if DNNL_CPU_RUNTIME == DNNL_RUNTIME_THREADPOOL
#include <dnnl_threadpool.hpp>

#include "xla_threadpool.h"
#endif

namespace collage::onednn {

#if DNNL_CPU_RUNTIME == DNNL_RUNTIME_THREADPOOL

using Pool = ffi::ThreadPool;

class Stream {
 public:
  Stream(const Pool& pool, int threads)
      : threads_(pool, threads), stream_(dnnl::threadpool_interop::make_stream(CpuEngine(), &threads_)) {}
  dnnl_stream_t get() const { return stream_.get(); }

 private:
  XlaThreadpool threads_;
  dnnl::stream stream_;
};

#else

struct Pool {};

class Stream {
 public:
  Stream(const Pool&, int) {}  // the OpenMP runtime knows the thread limit
  dnnl_stream_t get() const {
    thread_local dnnl::stream stream(CpuEngine());
    return stream.get();
  }
};

#endif

}  // namespace collage::onednn
