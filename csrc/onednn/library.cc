#include "library.h"

#include <algorithm>
#include <string_view>
#include <thread>
#include <utility>

#if DNNL_CPU_RUNTIME == DNNL_RUNTIME_THREADPOOL
#include <dnnl_threadpool.h>
#endif

// Of whichever OpenMP runtime the library brought along; weak, for a sequential library brings none.
extern "C" {
__attribute__((weak)) int omp_get_thread_limit(void);
__attribute__((weak)) int omp_get_dynamic(void);
__attribute__((weak)) void omp_set_dynamic(int);
__attribute__((weak)) int omp_get_max_threads(void);
__attribute__((weak)) void omp_set_num_threads(int threads);
}

namespace collage::onednn {
namespace {

std::string_view IsaName(dnnl_cpu_isa_t isa) {
  constexpr std::pair<dnnl_cpu_isa_t, std::string_view> kNames[] = {
      {dnnl_cpu_isa_sse41, "sse41"},
      {dnnl_cpu_isa_avx, "avx"},
      {dnnl_cpu_isa_avx2, "avx2"},
      {dnnl_cpu_isa_avx2_vnni, "avx2_vnni"},
      {dnnl_cpu_isa_avx2_vnni_2, "avx2_vnni_2"},
      {dnnl_cpu_isa_avx512_core, "avx512_core"},
      {dnnl_cpu_isa_avx512_core_vnni, "avx512_core_vnni"},
      {dnnl_cpu_isa_avx512_core_bf16, "avx512_core_bf16"},
      {dnnl_cpu_isa_avx512_core_fp16, "avx512_core_fp16"},
      {dnnl_cpu_isa_avx512_core_amx, "avx512_core_amx"},
      {dnnl_cpu_isa_avx512_core_amx_fp16, "avx512_core_amx_fp16"},
  };
  for (const auto& [value, name] : kNames)
    if (value == isa) return name;
  return "other";
}

const char* StatusName(dnnl_status_t status) {
  switch (status) {
    case dnnl_out_of_memory: return "out of memory";
    case dnnl_invalid_arguments: return "invalid arguments";
    case dnnl_unimplemented: return "unimplemented";
    default: return "runtime error";
  }
}

}  // namespace

std::string Mismatch() {
  const dnnl_version_t* loaded = dnnl_version();
  if (loaded->major != DNNL_VERSION_MAJOR || loaded->minor < DNNL_VERSION_MINOR)
    return "built for oneDNN " + std::to_string(DNNL_VERSION_MAJOR) + "." + std::to_string(DNNL_VERSION_MINOR) +
           ", loaded is " + std::to_string(loaded->major) + "." + std::to_string(loaded->minor);
  if (loaded->cpu_runtime != DNNL_CPU_RUNTIME)
    return "built for a oneDNN with another CPU runtime (OpenMP, thread pool, ...) than the loaded one has";
  return "";
}

int Threads() {
#if DNNL_CPU_RUNTIME == DNNL_RUNTIME_THREADPOOL
  return std::max(1u, std::thread::hardware_concurrency());
#else
  // OpenMP gives no more than its limit, whatever it is asked for.
  static const int threads =
      omp_get_max_threads != nullptr ? std::max(1, std::min(omp_get_max_threads(), omp_get_thread_limit())) : 1;
  return threads;
#endif
}

#if DNNL_CPU_RUNTIME == DNNL_RUNTIME_THREADPOOL
// The library learns the size of a pool only when a primitive runs, but lays out the work when it makes one.
ThreadLimit::ThreadLimit(int threads) {
  dnnl_threadpool_interop_get_max_concurrency(&before_);
  dnnl_threadpool_interop_set_max_concurrency(threads > 0 ? threads : Threads());
}

ThreadLimit::~ThreadLimit() { dnnl_threadpool_interop_set_max_concurrency(before_); }
#else
// The library divides the work of a primitive when it makes one, and some of it stays undone if there are fewer threads
// when the primitive runs. So both times the number is the same, and OpenMP may not choose fewer because it is busy.
ThreadLimit::ThreadLimit(int threads) : before_(0), dynamic_before_(0) {
  if (omp_set_num_threads == nullptr) return;
  before_ = omp_get_max_threads();
  dynamic_before_ = omp_get_dynamic();
  omp_set_num_threads(threads > 0 ? std::min(threads, Threads()) : Threads());
  omp_set_dynamic(0);
}

ThreadLimit::~ThreadLimit() {
  if (before_ == 0) return;
  omp_set_num_threads(before_);
  omp_set_dynamic(dynamic_before_);
}
#endif

const std::string& LibraryVersion() {
  static const std::string version = [] {
    const dnnl_version_t* v = dnnl_version();
    return std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch) + "-" +
           std::string(v->hash).substr(0, 8) + "/" + std::string(IsaName(dnnl_get_effective_cpu_isa())) + "/" +
           std::to_string(Threads()) + "t";
  }();
  return version;
}

std::string Explain(const std::string& op, const dnnl::error& error) {
  return "oneDNN " + LibraryVersion() + " cannot do op=" + op + ": " + StatusName(error.status) + ": " + error.what();
}

}  // namespace collage::onednn
