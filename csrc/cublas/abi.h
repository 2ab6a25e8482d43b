// The part of cuBLASLt's C interface that is used here, from NVIDIA's "cuBLAS" reference and its header cublasLt.h of
// CUDA 13. No header of CUDA's is needed to build.
#pragma once

#include <cstddef>
#include <cstdint>

namespace collage::cublas {

struct Handle;      // cublasLtHandle_t points to one
struct MatmulDesc;  // cublasLtMatmulDesc_t
struct Layout;      // cublasLtMatrixLayout_t
struct Preference;  // cublasLtMatmulPreference_t

enum Status : int { kSuccess = 0 };                                                       // cublasStatus_t
enum DataType : int { kF32 = 0, kF64 = 1, kF16 = 2, kBF16 = 14 };                         // cudaDataType_t
enum ComputeType : int { kCompute32F = 68, kCompute64F = 70, kCompute32FFastTF32 = 77 };  // cublasComputeType_t
enum Operation : int32_t { kN = 0, kT = 1 };                                              // cublasOperation_t
enum DescAttribute : int {                                                                // CUBLASLT_MATMUL_DESC_
  kTransA = 3,
  kTransB = 4,
  kEpilogueAttribute = 7,
  kBiasPointer = 8,
  kAuxPointer = 11,
  kAuxLeadingDimension = 12,
  kAuxBatchStride = 13
};
enum LayoutAttribute : int { kBatchCount = 5, kBatchStride = 6 };  // CUBLASLT_MATRIX_LAYOUT_
enum PreferenceAttribute : int {                                   // CUBLASLT_MATMUL_PREF_
  kMaxWorkspace = 1,
  kMinAlignmentA = 5,
  kMinAlignmentB = 6,
  kMinAlignmentC = 7,
  kMinAlignmentD = 8
};

enum Epilogue : uint32_t {  // cublasLtEpilogue_t
  kDefault = 1,
  kRelu = 2,
  kBias = 4,
  kReluBias = kRelu | kBias,
  kGelu = 32,
  kGeluBias = kGelu | kBias,
  kAux = 128,  // not one by itself: what is read or written besides
  kGeluAux = kGelu | kAux,
  kGeluAuxBias = kGeluAux | kBias,
  kBiasGradient = 16,  // nor is this
  kReluGradient = 8 | kAux,
  kReluBiasGradient = kReluGradient | kBiasGradient,
  kGeluGradient = 64 | kAux,
  kGeluBiasGradient = kGeluGradient | kBiasGradient,
  kBiasGradientA = 256,
  kBiasGradientB = 512
};

struct Algorithm {  // cublasLtMatmulAlgo_t
  uint64_t data[8];
};

struct Heuristic {  // cublasLtMatmulHeuristicResult_t
  Algorithm algorithm;
  size_t workspace;
  Status state;
  float waves;
  int reserved[4];
};

// Each is called as the field is, with `cublasLt` before it.
struct Functions {
  size_t (*GetVersion)();
  const char* (*GetStatusString)(Status);
  Status (*Create)(Handle**);
  Status (*MatmulDescCreate)(MatmulDesc**, ComputeType, DataType scale);
  Status (*MatmulDescDestroy)(MatmulDesc*);
  Status (*MatmulDescSetAttribute)(MatmulDesc*, DescAttribute, const void*, size_t bytes);
  Status (*MatrixLayoutCreate)(Layout**, DataType, uint64_t rows, uint64_t columns, int64_t leading_dimension);
  Status (*MatrixLayoutDestroy)(Layout*);
  Status (*MatrixLayoutSetAttribute)(Layout*, LayoutAttribute, const void*, size_t bytes);
  Status (*MatmulPreferenceCreate)(Preference**);
  Status (*MatmulPreferenceDestroy)(Preference*);
  Status (*MatmulPreferenceSetAttribute)(Preference*, PreferenceAttribute, const void*, size_t bytes);
  Status (*MatmulAlgoGetHeuristic)(Handle*, MatmulDesc*, Layout* a, Layout* b, Layout* c, Layout* d, Preference*,
                                   int asked, Heuristic* found, int* count);
  Status (*Matmul)(Handle*, MatmulDesc*, const void* alpha, const void* a, Layout*, const void* b, Layout*,
                   const void* beta, const void* c, Layout*, void* d, Layout*, const Algorithm*, void* workspace,
                   size_t workspace_bytes, void* stream);
};

}  // namespace collage::cublas
