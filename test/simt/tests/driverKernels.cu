// Kernels for the driver's tests: each shows one resource, one error or one finding.
#include <cstdint>

extern "C" __global__ void __launch_bounds__(256) addOne(float* x, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] += 1;
}

extern "C" __global__ void __launch_bounds__(256) copyTo(float* y, const float* x, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i];
}

// y = x reversed within the block, through static shared memory.
extern "C" __global__ void __launch_bounds__(160) reversed(float* y, const float* x) {
  __shared__ float tile[160];
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = tile[159 - threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(256) dynamicShared(float* y) {
  extern __shared__ float scratch[];
  scratch[threadIdx.x] = float(threadIdx.x);
  __syncthreads();
  y[threadIdx.x] = scratch[blockDim.x - 1 - threadIdx.x];
}

// An array that is indexed at run time lies on the stack.
extern "C" __global__ void __launch_bounds__(32) onStack(float* y, const int* index) {
  float values[24];
  for (int i = 0; i < 24; ++i) values[i] = float(i * threadIdx.x);
  for (int i = 0; i < 24; ++i) values[index[i] % 24] += float(i);
  y[threadIdx.x] = values[index[threadIdx.x] % 24];
}

// Without launch bounds the compiler takes more registers than 1024 threads can have.
extern "C" __global__ void manyRegisters(float* y, const float* x) {
  float values[96];
#pragma unroll
  for (int i = 0; i < 96; ++i) values[i] = x[i * 32 + threadIdx.x];
  for (int round = 0; round < 8; ++round) {
#pragma unroll
    for (int i = 0; i < 96; ++i) values[i] = values[i] * values[(i + 17) % 96] + values[(i + 41) % 96];
  }
#pragma unroll
  for (int i = 0; i < 96; ++i) y[i * 32 + threadIdx.x] = values[i];
}

// Every block but for luck reads what another wrote.
extern "C" __global__ void __launch_bounds__(32) race(int* x) { *x = *x + int(blockIdx.x); }

extern "C" __global__ void __launch_bounds__(32) beyond(float* x, int n) { x[n + int(threadIdx.x)] = 1; }

extern "C" __global__ void __launch_bounds__(32) trap() { asm volatile("trap;"); }

extern "C" __global__ void __launch_bounds__(32) misaligned(char* p) { *reinterpret_cast<float*>(p + 1) = 1; }

__device__ int counter = 7;
extern "C" __global__ void __launch_bounds__(32) readCounter(int* y) { y[threadIdx.x] = counter; }
