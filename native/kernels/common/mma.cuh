// The PTX instructions that matrix kernels speak: asynchronous copies to shared memory, fragment loads, tensor-core products.
#pragma once
#include "cuda.cuh"

namespace lantern::cuda {

// ---- shared memory ----
LANTERN_DEVICE uint32_t sharedAddress(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }

// 16 bytes from global to shared memory, past the registers and the first-level cache; zeros where `inside` is false.
LANTERN_DEVICE void copyAsync16(uint32_t to, const void* from, bool inside = true) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(inside ? 16 : 0) : "memory");
}
// The first `bytes` of 16, zeros behind them.
LANTERN_DEVICE void copyAsyncPart(uint32_t to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
LANTERN_DEVICE void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most `pending` of this thread's newest groups are still under way. Other threads' copies need a __syncthreads besides.
template <int pending>
LANTERN_DEVICE void waitCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}
LANTERN_DEVICE void storeShared(uint32_t to, bf16 x) {
  asm volatile("st.shared.u16 [%0], %1;" ::"r"(to), "h"(*reinterpret_cast<const uint16_t*>(&x)) : "memory");
}
LANTERN_DEVICE void storeShared(uint32_t to, float x, float y) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(to), "f"(x), "f"(y) : "memory");
}

// ---- fragments ----
// Four 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8. Lane l receives, of each, elements 2 (l % 4)
// and the next one of row l / 4 (trans: of column l / 4).
LANTERN_DEVICE void loadMatrices(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}
LANTERN_DEVICE void loadMatricesTransposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}
// d += a b: a 16x16 row-major, b 16x8 column-major, bf16; d 16x8, float32. With g = lane / 4 and t = lane % 4:
//   a[0] (g, 2t..2t+1)  a[1] (g + 8, 2t..)  a[2] (g, 2t + 8..)  a[3] (g + 8, 2t + 8..)      b0 (2t.., g)  b1 (2t + 8.., g)
//   d[0], d[1] (g, 2t), (g, 2t + 1)         d[2], d[3] (g + 8, 2t), (g + 8, 2t + 1)
LANTERN_DEVICE void multiplyAdd(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
LANTERN_DEVICE uint32_t packPair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

}  // namespace lantern::cuda
