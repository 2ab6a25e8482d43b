// The functions of NVIDIA's driver library that launching and timing a kernel takes, found at run time.
//
// Declared here after the "CUDA Driver API" reference manual (sections Library Management, Execution Control, Context
// Management, Stream, Event and Memory Management, Version Management, Error Handling), so that no header of CUDA is
// needed to build. All of them are there since CUDA 12.0. Names that end in _v2 are what cuda.h makes of those without.
#pragma once

#include <cstddef>
#include <string>

namespace collage::cuda {

using Result = int;  // CUresult; 0 is success
using Context = struct CUctx_st*;
using Stream = struct CUstream_st*;
using Library = struct CUlib_st*;
using Kernel = struct CUkern_st*;
using Function = struct CUfunc_st*;
using Event = struct CUevent_st*;
using Address = unsigned long long;  // CUdeviceptr

constexpr int kMaxDynamicShared = 8;  // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
constexpr unsigned kTimingEvent = 0;  // CU_EVENT_DEFAULT: not CU_EVENT_DISABLE_TIMING

struct Driver {
  Result (*cuGetErrorName)(Result error, const char** text);
  Result (*cuGetErrorString)(Result error, const char** text);
  Result (*cuDriverGetVersion)(int* version);  // of CUDA: 1000 times the major and 10 times the minor number
  Result (*cuCtxGetCurrent)(Context* context);
  Result (*cuCtxPushCurrent_v2)(Context context);
  Result (*cuCtxPopCurrent_v2)(Context* context);
  // The options are for compiling PTX, then for the library; there are none of either.
  Result (*cuLibraryLoadData)(Library* library, const void* code, int* jit_options, void** jit_values,
                              unsigned jit_count, int* options, void** values, unsigned count);
  Result (*cuLibraryGetKernel)(Kernel* kernel, Library library, const char* name);
  Result (*cuKernelGetFunction)(Function* function, Kernel kernel);
  Result (*cuFuncSetAttribute)(Function function, int attribute, int value);
  Result (*cuLaunchKernel)(Function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                           unsigned block_y, unsigned block_z, unsigned shared_bytes, Stream stream, void** parameters,
                           void** extra);
  Result (*cuStreamGetCtx)(Stream stream, Context* context);
  Result (*cuEventCreate)(Event* event, unsigned flags);
  Result (*cuEventRecord)(Event event, Stream stream);
  Result (*cuEventSynchronize)(Event event);
  Result (*cuEventElapsedTime)(float* milliseconds, Event begin, Event end);
  Result (*cuMemsetD8Async)(Address address, unsigned char value, size_t bytes, Stream stream);
};

// The driver of this process, opened on first use. Throws std::runtime_error where there is none.
const Driver& TheDriver();

// Has `path` be the driver's library, for tests. Throws std::logic_error if one is open already.
void OpenDriver(const std::string& path);

// Throws std::runtime_error unless `result` is success; `what` failed.
void Check(const Driver& driver, Result result, const std::string& what);

}  // namespace collage::cuda
