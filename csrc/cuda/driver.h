// The functions of NVIDIA's driver library that launching a kernel takes, found at run time.
//
// Declared here after the "CUDA Driver API" reference manual (sections Library Management, Execution Control, Context
// Management, Error Handling), so that no header of CUDA is needed to build. All of them are there since CUDA 12.0.
#pragma once

#include <string>

namespace collage::cuda {

using Result = int;  // CUresult; 0 is success
using Context = struct CUctx_st*;
using Stream = struct CUstream_st*;
using Library = struct CUlib_st*;
using Kernel = struct CUkern_st*;
using Function = struct CUfunc_st*;

constexpr int kMaxDynamicShared = 8;  // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES

struct Driver {
  Result (*cuGetErrorName)(Result error, const char** text);
  Result (*cuGetErrorString)(Result error, const char** text);
  Result (*cuCtxGetCurrent)(Context* context);
  // The options are for compiling PTX, then for the library; there are none of either.
  Result (*cuLibraryLoadData)(Library* library, const void* code, int* jit_options, void** jit_values,
                              unsigned jit_count, int* options, void** values, unsigned count);
  Result (*cuLibraryGetKernel)(Kernel* kernel, Library library, const char* name);
  Result (*cuKernelGetFunction)(Function* function, Kernel kernel);
  Result (*cuFuncSetAttribute)(Function function, int attribute, int value);
  Result (*cuLaunchKernel)(Function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                           unsigned block_y, unsigned block_z, unsigned shared_bytes, Stream stream, void** parameters,
                           void** extra);
};

// The driver of this process, opened on first use. Throws std::runtime_error where there is none.
const Driver& TheDriver();

// Has `path` be the driver's library, for tests. Throws std::logic_error if one is open already.
void OpenDriver(const std::string& path);

// Throws std::runtime_error unless `result` is success; `what` failed.
void Check(const Driver& driver, Result result, const std::string& what);

}  // namespace collage::cuda
