// CUDA C++ on the host, so that a kernel's own source can be run and compared: include this before it.
//
// Each CUDA thread is a fiber, and one runs at a time, up to its next barrier; blocks follow one another. Threads take
// turns in rising or falling order: a kernel whose result depends on the order lacks a barrier. Barriers and shuffles
// must be met by all threads of a block. What is shared dynamically is full of NaN before.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#define __global__
#define __device__ static
#define __shared__ static  // a block at a time: one copy is the block's

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace on_host {

constexpr size_t kStack = 64 << 10;

struct Fiber {
  dim3 thread;
  std::unique_ptr<char[]> stack = std::make_unique<char[]>(kStack);
  ucontext_t context;
  bool is_done = false;
};

inline ucontext_t scheduler;
inline Fiber* running;
inline const std::function<void()>* kernel;
inline std::vector<char> shared;
inline std::vector<uint64_t> exchanged;
inline bool backwards = false, diverged = false;

inline void Enter() {
  (*kernel)();
  running->is_done = true;
}

inline void Wait() { swapcontext(&running->context, &scheduler); }

inline unsigned Me() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }

// All threads up to the next barrier; true if they are at one.
inline bool Advance(std::vector<Fiber>& fibers) {
  size_t waiting = 0;
  for (size_t i = 0; i < fibers.size(); ++i) {
    running = &fibers[backwards ? fibers.size() - 1 - i : i];
    threadIdx = running->thread;
    swapcontext(&scheduler, &running->context);
    waiting += !running->is_done;
  }
  diverged |= waiting != 0 && waiting != fibers.size();
  return waiting == fibers.size();
}

inline void RunBlock() {
  std::vector<Fiber> fibers(size_t{blockDim.x} * blockDim.y * blockDim.z);
  exchanged.assign(fibers.size(), 0);
  std::fill(shared.begin(), shared.end(), static_cast<char>(0xff));
  for (size_t i = 0; i < fibers.size(); ++i) {
    Fiber& fiber = fibers[i];
    const auto at = static_cast<unsigned>(i);
    fiber.thread = {at % blockDim.x, at / blockDim.x % blockDim.y, at / blockDim.x / blockDim.y};
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = &scheduler;
    makecontext(&fiber.context, Enter, 0);
  }
  while (Advance(fibers)) {
  }
}

template <typename... P, size_t... I>
void Launch(void (*function)(P...), const unsigned* grid, const unsigned* block, unsigned bytes, void** parameters,
            std::index_sequence<I...>) {
  const std::function<void()> bound = [&] { function(*static_cast<std::remove_const_t<P>*>(parameters[I])...); };
  kernel = &bound;
  shared.resize(bytes);
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {block[0], block[1], block[2]};
  for (unsigned z = 0; z < gridDim.z; ++z)
    for (unsigned y = 0; y < gridDim.y; ++y)
      for (unsigned x = 0; x < gridDim.x; ++x) {
        blockIdx = {x, y, z};
        RunBlock();
      }
}

template <typename... P>
void Launch(void (*function)(P...), const unsigned* grid, const unsigned* block, unsigned bytes, void** parameters) {
  Launch(function, grid, block, bytes, parameters, std::index_sequence_for<P...>());
}

}  // namespace on_host

inline void __syncthreads() { on_host::Wait(); }

template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  std::memcpy(&on_host::exchanged[on_host::Me()], &value, sizeof(value));
  on_host::Wait();
  const unsigned other = on_host::Me() ^ static_cast<unsigned>(mask);
  std::memcpy(&value, &on_host::exchanged[other], sizeof(value));
  on_host::Wait();
  return value;
}

inline float rsqrtf(float x) { return 1 / std::sqrt(x); }

// What a driver calls in place of the kernel; true in `divergence` if a barrier was not met by all threads of a block.
#define RUN_ON_HOST(name)                                                                                       \
  extern "C" void name##_on_host(const unsigned* grid, const unsigned* block, unsigned bytes, void** parameters) { \
    on_host::Launch(name, grid, block, bytes, parameters);                                                      \
  }                                                                                                             \
  extern "C" void name##_order(bool falling) { on_host::backwards = falling; }                                  \
  extern "C" bool name##_diverged() { return on_host::diverged; }
