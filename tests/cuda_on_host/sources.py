"""CUDA C++ that the tests compile for GPUs, and run on the CPU."""

#: Softmax of the rows of [rows, columns], a block for each; `blockDim.x` numbers of dynamic shared memory.
ROW_SOFTMAX = r"""
extern "C" __global__ void row_softmax(const float* __restrict__ x, float* __restrict__ y, int columns) {
  extern __shared__ float partial[];
  const float* row = x + static_cast<long long>(blockIdx.x) * columns;
  float* out = y + static_cast<long long>(blockIdx.x) * columns;
  float largest = row[0];
  for (int i = threadIdx.x; i < columns; i += blockDim.x) largest = fmaxf(largest, row[i]);
  partial[threadIdx.x] = largest;
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) partial[threadIdx.x] = fmaxf(partial[threadIdx.x], partial[threadIdx.x + half]);
    __syncthreads();
  }
  largest = partial[0];
  __syncthreads();
  float sum = 0;
  for (int i = threadIdx.x; i < columns; i += blockDim.x) sum += expf(row[i] - largest);
  partial[threadIdx.x] = sum;
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
    __syncthreads();
  }
  for (int i = threadIdx.x; i < columns; i += blockDim.x) out[i] = expf(row[i] - largest) / partial[0];
}
"""

#: relu(x * scale + bias) of [rows, columns] with vectors; no bias is a null pointer. A thread for each number.
SCALE_BIAS_RELU = r"""
__device__ float positive(float value, float floor) { return value > floor ? value : floor; }

extern "C" __global__ void scale_bias_relu(const float* x, const float* scale, const float* bias, float* y,
                                           long long size, unsigned columns, float floor) {
  const long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < size) y[i] = positive(x[i] * scale[i % columns] + (bias ? bias[i % columns] : 0.0f), floor);
}
"""

#: The transpose of [depth, rows, columns] to [depth, columns, rows] in tiles of 8 x 8, by shared memory.
TRANSPOSE = r"""
extern "C" __global__ void transpose(const double* x, double* y, int rows, int columns) {
  __shared__ double tile[8][9];
  const long long page = static_cast<long long>(blockIdx.z) * rows * columns;
  int column = blockIdx.x * 8 + threadIdx.x, row = blockIdx.y * 8 + threadIdx.y;
  if (row < rows && column < columns) tile[threadIdx.y][threadIdx.x] = x[page + row * columns + column];
  __syncthreads();
  column = blockIdx.x * 8 + threadIdx.y, row = blockIdx.y * 8 + threadIdx.x;
  if (row < rows && column < columns) y[page + column * rows + row] = tile[threadIdx.x][threadIdx.y];
}
"""

#: Sums of rows by shuffles; a block is one warp.
ROW_SUMS = r"""
extern "C" __global__ void row_sums(const float* x, float* y, int columns) {
  float sum = 0;
  for (int i = threadIdx.x; i < columns; i += 32) sum += x[static_cast<long long>(blockIdx.x) * columns + i];
  for (int mask = 16; mask > 0; mask /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, mask);
  if (threadIdx.x == 0) y[blockIdx.x] = sum;
}
"""
