// A library with the functions of NVIDIA's driver that a launch takes. It has no device: it records what it is asked,
// and may run a host function in place of a kernel. Tests tell it by the `recorder_` functions what to know and answer.
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))
enum { kKernels = 16, kParameters = 16, kLaunches = 256, kNotFound = 500 };

typedef void (*Host)(const unsigned* grid, const unsigned* block, unsigned shared, void** parameters);

struct Kernel {
  char name[64];
  int count;
  int bytes[kParameters];
  Host host;
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
static void* context;
static char failing[64];

EXPORTED void recorder_reset(void) {
  known = launched = loads = functions = granted = 0;
  context = &kernels;
  failing[0] = 0;
}

EXPORTED void recorder_kernel(const char* name, int count, const int* bytes, Host host) {
  struct Kernel* kernel = &kernels[known++];
  strncpy(kernel->name, name, sizeof(kernel->name) - 1);
  kernel->count = count;
  memcpy(kernel->bytes, bytes, sizeof(int) * (size_t)count);
  kernel->host = host;
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

#define ANSWER(name) \
  if (strcmp(failing, #name) == 0) return failing_code

EXPORTED int cuGetErrorName(int error, const char** text) {
  *text = error == kNotFound ? "CUDA_ERROR_NOT_FOUND" : "CUDA_ERROR_MADE_UP";
  return 0;
}

EXPORTED int cuGetErrorString(int error, const char** text) {
  *text = error == kNotFound ? "named symbol not found" : "as the test wants it";
  return 0;
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
  return 0;
}
