// A library with the name of NVIDIA's driver library for computers that have no driver: it knows no device.
//
// cuDNN's engines that are compiled at run time name libcuda.so.1 among the libraries that they need. Judging what cuDNN
// supports on a GPU that is described to it takes no driver, but its libraries must load. Every function answers
// CUDA_ERROR_NO_DEVICE; those that a library finds by name and are not here do not exist.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

#define EXPORTED __attribute__((visibility("default")))

// Values of CUresult.
enum { kSuccess = 0, kNoDevice = 100, kNotFound = 500 };

// Tells this library from a driver's.
EXPORTED int collage_no_driver(void) { return 1; }

EXPORTED int cuInit(unsigned int flags) {
  (void)flags;
  return kNoDevice;
}

// The version of CUDA that the driver would support: any that JAX supports, so that nobody asks for a newer driver.
EXPORTED int cuDriverGetVersion(int* version) {
  *version = 13000;
  return kSuccess;
}

EXPORTED int cuGetErrorName(int error, const char** text) {
  (void)error;
  *text = "CUDA_ERROR_NO_DEVICE";
  return kSuccess;
}

EXPORTED int cuGetErrorString(int error, const char** text) {
  (void)error;
  *text = "there is no NVIDIA driver";
  return kSuccess;
}

static int find(const char* name, void** function) {
  *function = dlsym(RTLD_DEFAULT, name);
  return *function == NULL ? kNotFound : kSuccess;
}

EXPORTED int cuGetProcAddress(const char* name, void** function, int version, unsigned long long flags) {
  (void)version;
  (void)flags;
  return find(name, function);
}

EXPORTED int cuGetProcAddress_v2(const char* name, void** function, int version, unsigned long long flags,
                                 int* status) {
  (void)version;
  (void)flags;
  const int result = find(name, function);
  if (status != NULL) *status = result == kSuccess ? 0 : 1;
  return result;
}

// What cuDNN 9 links against.
#define NO_DEVICE(name) \
  EXPORTED int name(void) { return kNoDevice; }

NO_DEVICE(cuModuleLoadData)
NO_DEVICE(cuModuleGetFunction)
NO_DEVICE(cuModuleUnload)
NO_DEVICE(cuTensorMapEncodeIm2col)
NO_DEVICE(cuTensorMapEncodeTiled)

// What it, or the CUDA runtime inside of it, looks up.
NO_DEVICE(cuDeviceGetCount)
NO_DEVICE(cuDeviceGet)
NO_DEVICE(cuCtxGetCurrent)
NO_DEVICE(cuLibraryLoadData)
NO_DEVICE(cuLibraryGetKernel)
NO_DEVICE(cuLibraryUnload)
NO_DEVICE(cuKernelGetFunction)
NO_DEVICE(cuKernelSetAttribute)
NO_DEVICE(cuFuncSetAttribute)
NO_DEVICE(cuCtxGetLimit)
NO_DEVICE(cuCtxPopCurrent)
NO_DEVICE(cuCtxPushCurrent)
NO_DEVICE(cuKernelGetAttribute)
NO_DEVICE(cuLaunchCooperativeKernel)
NO_DEVICE(cuLaunchKernel)
NO_DEVICE(cuLaunchKernelEx)
NO_DEVICE(cuLibraryLoadFromFile)
NO_DEVICE(cuLinkAddData)
NO_DEVICE(cuLinkComplete)
NO_DEVICE(cuLinkCreate)
NO_DEVICE(cuLinkDestroy)
NO_DEVICE(cuOccupancyMaxPotentialClusterSize)
NO_DEVICE(cuStreamGetCtx)
