// Attention over packed sequences: one block for a tile of queries of one head, keys and values stream past.
#include "attention.h"

#include "attentionForward.cuh"
#include "attentionSimt.cuh"

namespace lantern::cuda {

namespace {

// One query head of a tile of queries, for the tensor cores.
struct PackedRows : Window {
  const bf16 *q, *k, *v;  // q: the tile's first query; k, v: the sequence's first
  bf16* o;
  float* lse;  // of the tile's first query, or null
  int64_t qStride, kStride, vStride, outStride;
  int first, rows;

  LANTERN_DEVICE PackedRows(const AttentionParams& p, const RowBlock& b, int64_t head) : Window(b.length, p.windowLeft, p.windowRight) {
    const int64_t kvHead = head / (p.heads / p.kvHeads), token = b.start + b.first;
    qStride = p.qStride, kStride = p.kStride, vStride = p.vStride, outStride = p.heads * p.headDim;
    q = static_cast<const bf16*>(p.q) + token * qStride + head * p.headDim;
    k = static_cast<const bf16*>(p.k) + b.start * kStride + kvHead * p.headDim;
    v = static_cast<const bf16*>(p.v) + b.start * vStride + kvHead * p.headDim;
    o = static_cast<bf16*>(p.out) + token * outStride + head * p.headDim;
    lse = p.lse ? p.lse + head * p.tokens + token : nullptr;
    first = b.first, rows = b.count;
  }
  LANTERN_DEVICE int low(int r) const { return Window::low(first + r); }
  LANTERN_DEVICE int high(int r) const { return Window::high(first + r); }
  LANTERN_DEVICE void prepare(int, int, int) const {}
  LANTERN_DEVICE const bf16* query(int r) const { return q + r * qStride; }
  LANTERN_DEVICE const bf16* key(int j, int, int) const { return k + j * kStride; }
  LANTERN_DEVICE const bf16* value(int j, int, int) const { return v + j * vStride; }
  LANTERN_DEVICE bf16* out(int r) const { return o + r * outStride; }
  LANTERN_DEVICE void logSumExp(int r, float x) const {
    if (lse) lse[r] = x;
  }
};

template <class Shape>
struct SimtRows : Window {
  const AttentionParams& p;
  Elements q, k, v, o;
  int64_t head, kvHead, start;
  int first, rows, from, to;

  LANTERN_DEVICE SimtRows(const AttentionParams& p, bool vectors, const RowBlock& b, int64_t h)
      : Window(b.length, p.windowLeft, p.windowRight), p(p) {
    const int dtype = int(p.dtype);
    q = {p.q, dtype, vectors}, k = {p.k, dtype, vectors}, v = {p.v, dtype, vectors}, o = {p.out, dtype, vectors};
    head = h, kvHead = h / (p.heads / p.kvHeads), start = b.start, first = b.first, rows = b.count;
    from = low(0), to = high(rows - 1);
  }
  LANTERN_DEVICE int low(int r) const { return Window::low(first + r); }
  LANTERN_DEVICE int high(int r) const { return Window::high(first + r); }
  LANTERN_DEVICE int64_t query(int r) const { return (start + first + r) * p.qStride + head * p.headDim; }
  LANTERN_DEVICE int64_t key(int j) const { return (start + j) * p.kStride + kvHead * p.headDim; }
  LANTERN_DEVICE int64_t value(int j) const { return (start + j) * p.vStride + kvHead * p.headDim; }
  LANTERN_DEVICE void finish(int r, const float (&sums)[Shape::kHeadDim / 64][4], float top, float total) const {
    const int64_t token = start + first + r;
    storeSimtRow<Shape>(sums, 1.f / total, o, (token * p.heads + head) * p.headDim, int(p.headDim));
    if (p.lse && simtX() == 0) p.lse[head * p.tokens + token] = top * float(p.scale) + logf(total);
  }
};

// The last tiles of a causal sequence see the most keys: they start first, so that the short ones fill the end.
LANTERN_DEVICE RowBlock myRows(const AttentionParams& p, int rows, Fault* fault) {
  int sequence;
  if (!checkSeqlens(p.cuSeqlens, p.sequences, p.tokens, "attention", fault)) return {};
  return findRows(p.cuSeqlens, int(p.sequences), int(p.tokens), rows, int(gridDim.x - 1 - blockIdx.x), 1, sequence);
}

template <class Shape>
LANTERN_DEVICE void runMma(const AttentionParams& p, Fault* fault) {
  extern __shared__ __align__(128) unsigned char memory[];
  const RowBlock b = myRows(p, Shape::kRows, fault);
  if (b.count > 0) attendTile<Shape>(PackedRows(p, b, blockIdx.y), int(p.headDim), float(p.scale), sharedAddress(memory));
}

template <class Shape>
LANTERN_DEVICE void runSimt(const AttentionParams& p, bool vectors, Fault* fault) {
  extern __shared__ __align__(128) unsigned char memory[];
  const RowBlock b = myRows(p, Shape::kRows, fault);
  if (b.count > 0) attendSimt<Shape>(SimtRows<Shape>(p, vectors, b, blockIdx.y), int(p.headDim), float(p.scale), reinterpret_cast<float*>(memory));
}

}  // namespace

#define LANTERN_ENTRY(headDim)                                                                                                          \
  extern "C" __global__ void __launch_bounds__(ForwardShape<headDim>::kThreads)                                                         \
      attention_mma##headDim(const __grid_constant__ AttentionParams p, Fault* fault) {                                                 \
    runMma<ForwardShape<headDim>>(p, fault);                                                                                            \
  }
LANTERN_ENTRY(64)
LANTERN_ENTRY(96)
LANTERN_ENTRY(128)
#undef LANTERN_ENTRY

#define LANTERN_ENTRY(headDim)                                                                                                          \
  extern "C" __global__ void __launch_bounds__(kSimtThreads, 1)                                                                          \
      attention_simt##headDim(const __grid_constant__ AttentionParams p, bool vectors, Fault* fault) {                                  \
    runSimt<Simt##headDim>(p, vectors, fault);                                                                                          \
  }
LANTERN_ENTRY(64)
LANTERN_ENTRY(128)
LANTERN_ENTRY(256)
#undef LANTERN_ENTRY

}  // namespace lantern::cuda
