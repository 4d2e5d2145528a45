// What kernels may use beyond what ours do now: every feature writes results of its own, which wide.test.cc knows.
#include <cassert>
#include <cstdint>
#include <cstdio>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

using bf16 = __nv_bfloat16;
using bf162 = __nv_bfloat162;

namespace {

__device__ int thread() { return int(blockIdx.x * blockDim.x + threadIdx.x); }

__device__ __noinline__ float polynomial(float x, int n) {
  float a = 1;
  for (int i = 0; i < n; ++i) a = a * x + float(i);
  return a;
}

__device__ __noinline__ int choice(int k, int a, int b) {  // becomes a branch by table
  switch (k) {
    case 0: return a + b;
    case 1: return a * b;
    case 2: return a / b;
    case 3: return a % b;
    case 4: return __clz(a);
    case 5: return __popc(b);
    case 6: return int(__brev(unsigned(a)));
    case 7: return __ffs(b);
    case 8: return int(__byte_perm(unsigned(a), unsigned(b), 0x5142));
    case 9: return int(__funnelshift_l(unsigned(a), unsigned(b), 7));
    default: return a ^ b;
  }
}

}  // namespace

extern "C" __global__ void wideFloats(const float* x, float* out, int n) {
  const int i = thread();
  if (i >= n) return;
  const float v = x[i];
  out[i] = floorf(v), out[n + i] = rintf(v), out[2 * n + i] = fabsf(v), out[3 * n + i] = copysignf(v, x[0]);
  out[4 * n + i] = isnan(v) ? 1.f : 0.f;
  out[5 * n + i] = __sinf(v), out[6 * n + i] = __logf(fabsf(v) + .5f), out[7 * n + i] = __fdividef(v, 3.f);
}

// The last warp is not whole; its lanes are a multiple of 8.
extern "C" __global__ void wideWarps(const int* a, const unsigned* u, unsigned* out, int n) {
  const int i = thread();
  if (i >= n) return;
  const int v = a[i];
  const unsigned active = __activemask();
  const unsigned results[] = {active,
                              __ballot_sync(active, v > 0),
                              unsigned(__any_sync(active, v > 90)),
                              unsigned(__all_sync(active, v > -200)),
                              __match_any_sync(active, v & 3),
                              unsigned(__reduce_add_sync(active, v)),
                              __reduce_max_sync(active, u[i]),
                              __reduce_xor_sync(active, u[i]),
                              unsigned(__shfl_sync(active, v, 3)),
                              unsigned(__shfl_up_sync(active, v, 1, 8)),
                              unsigned(__shfl_down_sync(active, v, 2, 8)),
                              unsigned(__shfl_xor_sync(active, v, 4))};
  for (int k = 0; k < 12; ++k) out[k * n + i] = results[k];
}

// Each on a word of its own; what is read back does not depend on the order.
extern "C" __global__ void wideAtomics(float* x, int* ix, unsigned* u, unsigned long long* l, double* d, unsigned* exchanged, int n) {
  __shared__ int count;
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  const int i = thread();
  if (i < n) {
    atomicAdd(&count, i);
    atomicAdd(&x[0], float(i));
    atomicAdd(&d[0], double(i) / 4);
    atomicAdd(&l[0], 5ull << 32);
    atomicMax(&ix[0], i * 37 % 101 - 50);
    atomicMin(&u[0], 500u - unsigned(i));
    for (unsigned seen = 0;;) {  // the largest, by compare and swap
      const unsigned old = atomicCAS(&u[1], seen, max(seen, unsigned(i * 29 % 113)));
      if (old == seen) break;
      seen = old;
    }
    exchanged[i] = atomicExch(&u[2], unsigned(i) + 1);
    atomicAnd(&u[3], ~(1u << i % 16));
    atomicOr(&u[4], 1u << i % 24);
    atomicXor(&u[6], 1u << i % 7);
    atomicInc(&u[5], 6u);
    atomicDec(&u[7], 10u);
  }
  __threadfence_block();
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) atomicAdd(&ix[1], count);
}

// Before sm_90 the toolkit makes these of a plain load and compare and swap.
extern "C" __global__ void wideHalfAtomics(bf16* h, int n) {
  if (thread() >= n) return;
  atomicAdd(&h[0], __float2bfloat16(1.f));
  atomicAdd(reinterpret_cast<bf162*>(&h[2]), __floats2bfloat162_rn(1.f, 2.f));
}

extern "C" __global__ void wideIntegers(const int* a, const int* b, int* out, int choices, int n) {
  const int i = thread();
  if (i >= n) return;
  const int x = a[i], y = b[i];
  for (int k = 0; k < choices; ++k) out[k * n + i] = choice(k, x, y);
  const int more[] = {__dp4a(x, y, 3), __mulhi(x, y), min(x, y), max(x, y), abs(x), int(__sad(x, y, 3u)), int(__vadd4(unsigned(x), unsigned(y)))};
  for (int k = 0; k < 7; ++k) out[(choices + k) * n + i] = more[k];
}

extern "C" __global__ void wideDoubles(const long long* l, const double* d, long long* outL, double* outD, int k, int n) {
  const int i = thread();
  if (i >= n) return;
  outL[i] = l[i] / (k + 1), outL[n + i] = l[i] % (k + 2);
  outL[2 * n + i] = (long long)(__umul64hi((unsigned long long)(l[i]), 0x123456789abcdefull)), outL[3 * n + i] = (long long)(d[i]) % 7;
  outD[i] = sqrt(d[i]) * 3, outD[n + i] = fma(d[i], 2.0, 1.0) / (1 + d[i]);
}

// An array that is indexed at run time, and a call.
extern "C" __global__ void wideLocal(const float* x, const int* at, float* out, int k, int n) {
  const int i = thread();
  if (i >= n) return;
  float local[16];
  for (int j = 0; j < 16; ++j) local[j] = x[(i + j) % n];
  for (int j = 0; j < k; ++j) local[(at[i] + j) & 15] += float(j);
  out[i] = local[at[i] & 15], out[n + i] = polynomial(x[i], k);
}

extern "C" __global__ void wideHalves(const float* x, const float* y, unsigned short* out, int n) {
  const int i = thread();
  if (i >= n) return;
  const bf16 a = __float2bfloat16(x[i]), b = __float2bfloat16(y[i]);
  const bf162 pair = __halves2bfloat162(a, b), swapped = __halves2bfloat162(b, a);
  const bf162 twos[] = {__hfma2(pair, swapped, pair), __hmul2(pair, pair), __hmax2(pair, swapped), __hadd2(pair, swapped)};
  const bf16 ones[] = {__hfma(a, b, a), __hmax(a, b), hexp(a)};
  const __half f = __float2half(x[i]), g = __float2half(y[i]);
  for (int k = 0; k < 3; ++k) out[k * n + i] = __bfloat16_as_ushort(ones[k]);
  for (int k = 0; k < 4; ++k) {
    out[(3 + 2 * k) * n + i] = __bfloat16_as_ushort(__low2bfloat16(twos[k]));
    out[(4 + 2 * k) * n + i] = __bfloat16_as_ushort(__high2bfloat16(twos[k]));
  }
  out[11 * n + i] = __half_as_ushort(__hadd(f, g)), out[12 * n + i] = __half_as_ushort(__hmul(f, g)), out[13 * n + i] = f < g;
  const __nv_fp8_storage_t eight = __nv_cvt_float_to_fp8(x[i], __NV_SATFINITE, __NV_E4M3);
  out[14 * n + i] = eight;
  out[15 * n + i] = __half_raw(__nv_cvt_fp8_to_halfraw(eight, __NV_E4M3)).x;
}

extern "C" __global__ void wideConversions(const float* x, const int* a, unsigned* out, int n) {
  const int i = thread();
  if (i >= n) return;
  const float v = fabsf(x[i]);
  const unsigned results[] = {__float2uint_rn(v), unsigned(v), unsigned(__float2int_rd(x[i])), unsigned((signed char)(a[i])),
                              (unsigned short)(a[i]), __float_as_uint(__uint2float_rn(unsigned(a[i]))), unsigned((unsigned long long)(v))};
  for (int k = 0; k < 7; ++k) out[k * n + i] = results[k];
}

// Cache hints, clocks, and what is there to fail.
extern "C" __global__ void wideHints(const float* x, float* out, int k, int n) {
  const int i = thread();
  if (i >= n) return;
  const long long begun = clock64();
  assert(k < 100);
  if (x[i] != x[i]) __trap();
  __stcs(&out[i], __ldcs(&x[i]) + __ldcg(&x[(i + 1) % n]) + __ldg(&x[(i + 2) % n]));
  __nanosleep(10);
  out[n + i] = clock64() > begun ? 1.f : 0.f;
}

extern "C" __global__ void widePrint(int k) {
  if (k > 0) printf("%d\n", k);
}
