// What the thread sanitizer cannot see: GNU's OpenMP is not instrumented, so that it takes what the threads of a team do
// for unordered with what comes before and after. Every extension is linked with `--wrap` of what its loops call.
//
// Barriers are told of one address for all teams. What two teams do at once is then ordered where both happen to pass one,
// which can hide a race and cannot invent one; the threads of XLA that call kernels share no data through them.
#include <sanitizer/tsan_interface.h>

extern "C" {

// Weak, for extensions without OpenMP are linked with this as well.
[[gnu::weak]] void __real_GOMP_parallel(void (*work)(void*), void* data, unsigned threads, unsigned flags);
[[gnu::weak]] void __real_GOMP_barrier();
[[gnu::weak]] void __real_GOMP_loop_end();

namespace {

struct Team {
  void (*work)(void*);
  void* data;
  char begin, end;
};

void Work(void* pointer) {
  auto* team = static_cast<Team*>(pointer);
  __tsan_acquire(&team->begin);
  team->work(team->data);
  __tsan_release(&team->end);
}

char barrier;

}  // namespace

void __wrap_GOMP_parallel(void (*work)(void*), void* data, unsigned threads, unsigned flags) {
  Team team{work, data, 0, 0};
  __tsan_release(&team.begin);
  __real_GOMP_parallel(Work, &team, threads, flags);
  __tsan_acquire(&team.end);
}

void __wrap_GOMP_barrier() {
  __tsan_release(&barrier);
  __real_GOMP_barrier();
  __tsan_acquire(&barrier);
}

void __wrap_GOMP_loop_end() {  // of a loop within a team: a barrier
  __tsan_release(&barrier);
  __real_GOMP_loop_end();
  __tsan_acquire(&barrier);
}
}
