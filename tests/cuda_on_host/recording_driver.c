// A library with the functions of NVIDIA's driver that launching and timing takes. It has no device: it records what it
// is asked, and may run a host function in place of a kernel. Its one stream does everything at once, on a clock that
// moves as tests want it. Tests tell it by the `recorder_` functions what to know and answer.
#include <pthread.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))
// Launches and work: more than a race of seconds makes of kernels that take no time.
enum { kKernels = 16, kParameters = 16, kLaunches = 1 << 17, kEvents = 1024, kWork = 1 << 17 };
enum { kNoContext = 201, kNotFound = 500, kNotReady = 600 };

typedef void (*Host)(const unsigned* grid, const unsigned* block, unsigned shared, void** parameters);

struct Kernel {
  char name[64];
  int count;
  int bytes[kParameters];
  Host host;
  double us;
};

struct Event {
  double at;
  int is_recorded;
};

struct Work {
  char what[64];
  long number;
  void* stream;
};

struct Launch {
  char name[64];
  unsigned grid[3], block[3], shared;
  void* stream;
  int count;
  unsigned char parameters[kParameters][16];
};

static struct Kernel kernels[kKernels];
static struct Launch launches[kLaunches];
static int known, launched, loads, functions, granted, failing_code;
static struct Event events[kEvents];  // outlive a reset: whoever has one keeps it
static struct Work all_work[kWork];
static int made, worked;
static double now, memset_us;
static _Thread_local int entered;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static void* context;
static char failing[64];

static int work(const char* what, long number, void* stream, double us) {
  pthread_mutex_lock(&mutex);
  const int fits = worked < kWork;
  if (fits) {
    struct Work* next = &all_work[worked++];
    *next = (struct Work){.number = number, .stream = stream};
    strncpy(next->what, what, sizeof(next->what) - 1);
    now += us;
  }
  pthread_mutex_unlock(&mutex);
  return fits ? 0 : 1;
}

EXPORTED void recorder_reset(void) {
  known = launched = loads = functions = granted = worked = 0;
  now = memset_us = 0;
  context = &kernels;
  failing[0] = 0;
}

EXPORTED void recorder_kernel(const char* name, int count, const int* bytes, Host host) {
  struct Kernel* kernel = &kernels[known++];
  strncpy(kernel->name, name, sizeof(kernel->name) - 1);
  kernel->count = count;
  memcpy(kernel->bytes, bytes, sizeof(int) * (size_t)count);
  kernel->host = host;
  kernel->us = 0;
}

// How long the clock runs for each launch of a kernel, or for memset.
EXPORTED void recorder_takes(const char* name, double us) {
  if (strcmp(name, "memset") == 0) memset_us = us;
  for (int i = 0; i < known; ++i)
    if (strcmp(kernels[i].name, name) == 0) kernels[i].us = us;
}

EXPORTED void recorder_context(void* current) { context = current; }

EXPORTED void recorder_fail(const char* function, int code) {
  strncpy(failing, function, sizeof(failing) - 1);
  failing_code = code;
}

// How many launches, images loaded, kernels loaded on a device, and the bytes of shared memory last granted.
EXPORTED int recorder_launches(void) { return launched; }
EXPORTED int recorder_loads(void) { return loads; }
EXPORTED int recorder_functions(void) { return functions; }
EXPORTED int recorder_granted(void) { return granted; }
EXPORTED const struct Launch* recorder_launch(int i) { return &launches[i]; }

// How many contexts this thread is in, how many events there are, and what streams were given to do since the last
// reset: kernels by name, `memset` with its bytes, `event` with its number.
EXPORTED int recorder_entered(void) { return entered; }
EXPORTED int recorder_events(void) { return made; }
EXPORTED int recorder_worked(void) { return worked; }
EXPORTED const struct Work* recorder_work(int i) { return &all_work[i]; }

#define ANSWER(name) \
  if (strcmp(failing, #name) == 0) return failing_code

EXPORTED int cuGetErrorName(int error, const char** text) {
  *text = error == kNotFound    ? "CUDA_ERROR_NOT_FOUND"
          : error == kNoContext ? "CUDA_ERROR_INVALID_CONTEXT"
                                : "CUDA_ERROR_MADE_UP";
  return 0;
}

EXPORTED int cuGetErrorString(int error, const char** text) {
  *text = error == kNotFound ? "named symbol not found" : "as the test wants it";
  return 0;
}

EXPORTED int cuDriverGetVersion(int* version) {
  ANSWER(cuDriverGetVersion);
  *version = 13010;
  return 0;
}

EXPORTED int cuCtxPushCurrent_v2(void* pushed) {
  ANSWER(cuCtxPushCurrent_v2);
  if (pushed == NULL) return kNoContext;
  ++entered;
  return 0;
}

EXPORTED int cuCtxPopCurrent_v2(void** popped) {
  if (entered == 0) return kNoContext;
  --entered;
  *popped = context;
  return 0;
}

EXPORTED int cuStreamGetCtx(void* stream, void** of) {
  ANSWER(cuStreamGetCtx);
  if (stream != NULL || context == NULL) return kNoContext;
  *of = context;
  return 0;
}

EXPORTED int cuEventCreate(void** event, unsigned flags) {
  ANSWER(cuEventCreate);
  if (flags != 0) return 1;
  if (entered == 0) return kNoContext;
  pthread_mutex_lock(&mutex);
  const int fits = made < kEvents;
  if (fits) *event = &events[made++];
  pthread_mutex_unlock(&mutex);
  return fits ? 0 : 1;
}

EXPORTED int cuEventRecord(void* recorded, void* stream) {
  ANSWER(cuEventRecord);
  if (entered == 0) return kNoContext;
  struct Event* event = recorded;
  const int failed = work("event", event - events, stream, 0);
  event->at = now;
  event->is_recorded = 1;
  return failed;
}

EXPORTED int cuEventSynchronize(void* event) {
  ANSWER(cuEventSynchronize);
  if (entered == 0) return kNoContext;
  return ((struct Event*)event)->is_recorded ? 0 : kNotReady;
}

EXPORTED int cuEventElapsedTime(float* milliseconds, void* begin, void* end) {
  ANSWER(cuEventElapsedTime);
  if (entered == 0) return kNoContext;
  *milliseconds = (float)((((struct Event*)end)->at - ((struct Event*)begin)->at) / 1e3);
  return 0;
}

EXPORTED int cuMemsetD8Async(unsigned long long address, unsigned char value, size_t bytes, void* stream) {
  ANSWER(cuMemsetD8Async);
  if (entered == 0) return kNoContext;
  memset((void*)address, value, bytes);
  return work("memset", (long)bytes, stream, memset_us);
}

EXPORTED int cuCtxGetCurrent(void** current) {
  ANSWER(cuCtxGetCurrent);
  *current = context;
  return 0;
}

EXPORTED int cuLibraryLoadData(void** library, const void* code, int* jit, void** jit_values, unsigned jit_count,
                               int* options, void** values, unsigned count) {
  ANSWER(cuLibraryLoadData);
  if (code == NULL || jit || jit_values || jit_count || options || values || count) return 1;
  *library = &launches[loads++];
  return 0;
}

EXPORTED int cuLibraryGetKernel(void** kernel, void* library, const char* name) {
  ANSWER(cuLibraryGetKernel);
  for (int i = 0; library != NULL && i < known; ++i)
    if (strcmp(kernels[i].name, name) == 0) {
      *kernel = &kernels[i];
      return 0;
    }
  return kNotFound;
}

EXPORTED int cuKernelGetFunction(void** function, void* kernel) {
  ANSWER(cuKernelGetFunction);
  ++functions;
  *function = kernel;
  return 0;
}

EXPORTED int cuFuncSetAttribute(void* function, int attribute, int value) {
  ANSWER(cuFuncSetAttribute);
  if (function == NULL || attribute != 8) return 1;
  granted = value;
  return 0;
}

EXPORTED int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                            unsigned bz, unsigned shared, void* stream, void** parameters, void** extra) {
  ANSWER(cuLaunchKernel);
  if (extra != NULL || launched == kLaunches) return 1;
  const struct Kernel* kernel = function;
  struct Launch* launch = &launches[launched++];
  *launch = (struct Launch){.grid = {gx, gy, gz}, .block = {bx, by, bz}, .shared = shared, .stream = stream};
  strcpy(launch->name, kernel->name);
  launch->count = kernel->count;
  for (int i = 0; i < kernel->count; ++i) memcpy(launch->parameters[i], parameters[i], (size_t)kernel->bytes[i]);
  if (kernel->host != NULL) kernel->host(launch->grid, launch->block, shared, parameters);
  return work(kernel->name, 0, stream, kernel->us);
}
