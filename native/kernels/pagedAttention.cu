// Attention over the paged cache. Rows of a sequence and key head are numbered token * group + head of the group, so that a group reads the
// cache once. Few rows: a block for a piece of the context, partial sums merged in order. Many rows: a block for a tile of rows.
#include "pagedAttention.h"

#include "attentionForward.cuh"
#include "attentionSimt.cuh"
#include "pagedAttentionShape.h"

namespace lantern::cuda {

namespace {

// One sequence and key head, as all kernels here see it.
struct Sequence {
  const PagedAttentionParams& p;
  Fault* fault;
  int index, kvHead, group, token, queries, context, rowCount;
  bool good;

  LANTERN_DEVICE Sequence(const PagedAttentionParams& p, int index, int kvHead, Fault* fault) : p(p), fault(fault), index(index), kvHead(kvHead) {
    group = int(p.heads / p.kvHeads);
    const int tokens = int(p.tokens);
    token = p.cuSeqlens ? min(max(p.cuSeqlens[index], 0), tokens) : index;
    queries = p.cuSeqlens ? min(max(p.cuSeqlens[index + 1], token), tokens) - token : 1;
    context = p.contextLens[index], rowCount = queries * group;
    good = context >= queries && context <= p.maxBlocks * p.blockSize;
  }
  LANTERN_DEVICE void reportContext() const {
    if (!good && threadIdx.x == 0)
      report(fault, FaultKind::context, "pagedAttention", index, int64_t(context) << 32 | uint32_t(queries), p.maxBlocks);
  }
  // The keys that a row sees.
  LANTERN_DEVICE int rowLow(int row) const { return p.windowLeft < 0 ? 0 : int(max(int64_t(0), rowHigh(row) - 1 - p.windowLeft)); }
  LANTERN_DEVICE int rowHigh(int row) const { return context - queries + int(unsigned(row) / unsigned(group)) + 1; }
  // The cache's slot of a position, -1 when its block does not exist.
  LANTERN_DEVICE int slot(int position) const {
    const int size = int(p.blockSize), block = p.blockTables[index * p.maxBlocks + int(unsigned(position) / unsigned(size))];
    if (block >= 0 && block < p.blocks) return block * size + int(unsigned(position) % unsigned(size));
    report(fault, FaultKind::cacheBlock, "pagedAttention", block, index, p.blocks);
    return -1;
  }
  // Element offsets.
  LANTERN_DEVICE int64_t headOf(int row) const { return int64_t(kvHead) * group + int(unsigned(row) % unsigned(group)); }
  LANTERN_DEVICE int64_t tokenOf(int row) const { return token + int(unsigned(row) / unsigned(group)); }
  LANTERN_DEVICE int64_t queryAt(int row) const { return tokenOf(row) * p.qStride + headOf(row) * p.headDim; }
  LANTERN_DEVICE int64_t outAt(int row) const { return (tokenOf(row) * p.heads + headOf(row)) * p.headDim; }
  LANTERN_DEVICE int64_t cacheAt(int slot) const { return slot < 0 ? -1 : (slot * p.kvHeads + kvHead) * p.headDim; }
};

// A piece of a sequence of few rows; blocks are numbered (piece, key head and tile of rows, sequence).
struct Piece {
  int first, rows, from, to, number, count;  // rows of the sequence; keys; number `number` of `count` pieces

  LANTERN_DEVICE Piece(const Sequence& s, const PagedPlan& plan, int tile, int number) : number(number) {
    const int low = s.rowLow(0);
    first = tile * kDecodeRows, count = max(1, (s.context - low + kPiece - 1) / kPiece);
    from = low + number * kPiece, to = min(s.context, from + kPiece);
    rows = s.good && s.rowCount <= plan.rowTiles * kDecodeRows && number < count ? min(kDecodeRows, s.rowCount - first) : 0;
  }
  LANTERN_DEVICE int64_t record(const Sequence& s, const PagedPlan& plan, int row) const {
    return ((int64_t(s.index) * s.p.kvHeads + s.kvHead) * plan.pieces + number) * (plan.rowTiles * kDecodeRows) + first + row;
  }
};

// ---- tensor cores ----
// In one access: split in two, the pairs of neighbouring threads would share banks.
LANTERN_DEVICE void storePair(uint32_t address, float x, float y) {
  asm volatile("st.shared.v2.f32 [%0], {%1,%2};" ::"r"(address), "f"(x), "f"(y) : "memory");
}

template <class Shape>
LANTERN_DEVICE void decodeMma(const PagedAttentionParams& p, const PagedPlan& plan, Fault* fault, unsigned char* memory) {
  using Warp = typename Shape::Warp;
  __shared__ int slots[kPiece];
  __shared__ float tops[Shape::kWarps][kDecodeRows], totals[Shape::kWarps][kDecodeRows];
  const Sequence s(p, blockIdx.z, int(blockIdx.y) / plan.rowTiles, fault);
  if (blockIdx.x == 0) s.reportContext();
  const Piece piece(s, plan, int(blockIdx.y) % plan.rowTiles, blockIdx.x);
  if (piece.rows <= 0) return;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, headDim = int(p.headDim);
  for (int i = threadIdx.x; i < piece.to - piece.from; i += Shape::kThreads) slots[i] = s.slot(piece.from + i);
  const bf16 *q = static_cast<const bf16*>(p.q), *k = static_cast<const bf16*>(p.kCache), *v = static_cast<const bf16*>(p.vCache);
  const uint32_t queries = sharedAddress(memory), ring = queries + (1 + warp * Shape::kStages * 2) * Shape::kTileBytes;
  if (warp == 0) loadTile<Warp, kDecodeRows>(queries, q, piece.rows, headDim, [&](int r) { return q + s.queryAt(piece.first + r); }, lane);
  commitCopies();
  waitCopies<0>();
  __syncthreads();

  const int steps = (piece.to - piece.from - warp * 16 + Shape::kWarps * 16 - 1) / (Shape::kWarps * 16);
  const auto at = [&](int step) { return (step * Shape::kWarps + warp) * 16; };  // of the piece
  const auto load = [&](int step) {
    const int base = at(step), count = step < steps ? piece.to - piece.from - base : 0;
    const uint32_t tile = ring + step % Shape::kStages * 2 * Shape::kTileBytes;
    const auto row = [&](const bf16* cache, int j) {
      const int slot = slots[base + j];
      return slot < 0 ? nullptr : cache + s.cacheAt(slot);
    };
    loadTile<Warp, 16>(tile, q, count, headDim, [&](int j) { return row(k, j); }, lane);
    loadTile<Warp, 16>(tile + Shape::kTileBytes, q, count, headDim, [&](int j) { return row(v, j); }, lane);
  };
  struct Sees {
    const Sequence& s;
    const Piece& piece;
    LANTERN_DEVICE int low(int r) const { return s.rowLow(piece.first + r); }
    LANTERN_DEVICE int high(int r) const { return min(s.rowHigh(piece.first + r), piece.to); }
  } sees{s, piece};
  OnlineSoftmax<Warp> softmax;
  const float c = float(p.scale) * kLog2e;
#pragma unroll
  for (int step = 0; step < Shape::kStages - 1; ++step) {
    if (step < steps) load(step);
    commitCopies();
  }
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    waitCopies<Shape::kStages - 2>();
    __syncwarp();  // this step has arrived; every lane is done with the one before, whose place the next copies take
    if (step + Shape::kStages - 1 < steps) load(step + Shape::kStages - 1);
    commitCopies();
    const uint32_t tile = ring + step % Shape::kStages * 2 * Shape::kTileBytes;
    float weights[1][2][4];
    rowProducts<Warp>(weights, queries, 0, tile);
    maskTile<Warp>(weights, 0, 15, piece.from + at(step), sees, -INFINITY);
    softmax.weigh(weights, c);
    columnProducts<Warp>(softmax.out, weights, tile + Shape::kTileBytes);
  }
  softmax.finish();
  waitCopies<0>();
  __syncthreads();  // the ring becomes room for the warps' sums

  float* sums = reinterpret_cast<float*>(memory + Shape::kTileBytes);
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = fragmentRow(0, h);
    const uint32_t to = sharedAddress(sums + (warp * kDecodeRows + row) * Shape::kSumFloats + fragmentCol(0));
    if (lane % 4 == 0) tops[warp][row] = softmax.top[0][h], totals[warp][row] = softmax.total[0][h];
#pragma unroll
    for (int j = 0; j < Shape::kHeadDim / 8; ++j)
      storePair(to + j * 32, softmax.out[0][j][2 * h], softmax.out[0][j][2 * h + 1]);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < piece.rows * (headDim / 4); i += Shape::kThreads) {
    const int row = i / (headDim / 4), d = i % (headDim / 4) * 4;
    float top = tops[0][row], total = 0, x[4] = {};
#pragma unroll
    for (int w = 1; w < Shape::kWarps; ++w) top = fmaxf(top, tops[w][row]);
    const float shift = top == -INFINITY ? 0.f : top;
#pragma unroll
    for (int w = 0; w < Shape::kWarps; ++w) {
      const float factor = exp2Approx((tops[w][row] - shift) * c);
      float y[4];
      loadPack<4>(sums + (w * kDecodeRows + row) * Shape::kSumFloats + d, y);
      total = fmaf(totals[w][row], factor, total);
#pragma unroll
      for (int e = 0; e < 4; ++e) x[e] = fmaf(y[e], factor, x[e]);
    }
    if (piece.count > 1) {
      const int64_t record = piece.record(s, plan, row);
      storePack<4>(plan.sums + record * headDim + d, x);
      if (d == 0) plan.stats[2 * record] = top * c, plan.stats[2 * record + 1] = total;
    } else {
#pragma unroll
      for (int e = 0; e < 4; ++e) x[e] /= total;
      storePack<4>(static_cast<bf16*>(p.out) + s.outAt(piece.first + row) + d, x);
    }
  }
}

// A tile of rows of a sequence of many, for attendTile: the slots of the keys are looked up one tile ahead.
template <class Shape>
struct PagedRows {
  const Sequence& s;
  int (*slots)[Shape::kStreamed];
  int first, rows;

  LANTERN_DEVICE int low(int r) const { return s.rowLow(first + r); }
  LANTERN_DEVICE int high(int r) const { return min(s.rowHigh(first + r), s.context); }
  LANTERN_DEVICE void prepare(int base, int to, int turn) const {
    if (const int j = threadIdx.x; j < Shape::kStreamed && base + j < to) slots[turn][j] = s.slot(base + j);
  }
  LANTERN_DEVICE const bf16* query(int r) const { return static_cast<const bf16*>(s.p.q) + s.queryAt(first + r); }
  LANTERN_DEVICE const bf16* cached(const void* cache, int slot) const {
    return slot < 0 ? nullptr : static_cast<const bf16*>(cache) + s.cacheAt(slot);
  }
  LANTERN_DEVICE const bf16* key(int, int j, int turn) const { return cached(s.p.kCache, slots[turn][j]); }
  LANTERN_DEVICE const bf16* value(int, int j, int turn) const { return cached(s.p.vCache, slots[turn][j]); }
  LANTERN_DEVICE bf16* out(int r) const { return static_cast<bf16*>(s.p.out) + s.outAt(first + r); }
  LANTERN_DEVICE void logSumExp(int, float) const {}
};

LANTERN_DEVICE bool seqlensHold(const PagedAttentionParams& p, Fault* fault) {
  return !p.cuSeqlens || checkSeqlens(p.cuSeqlens, p.sequences, p.tokens, "pagedAttention", fault);
}

// This block's tile of rows, nothing if its sequence has few.
LANTERN_DEVICE RowBlock manyRows(const PagedAttentionParams& p, const PagedPlan& plan, int rows, int& sequence) {
  const int group = int(p.heads / p.kvHeads);
  RowBlock b = findRows(p.cuSeqlens, int(p.sequences), int(p.tokens), rows, int(gridDim.x - 1 - blockIdx.x), group, sequence);
  if (b.length * group <= plan.rowTiles * kDecodeRows) b.count = 0;
  return b;
}

template <class Shape>
LANTERN_DEVICE void prefillMma(const PagedAttentionParams& p, const PagedPlan& plan, Fault* fault, unsigned char* memory) {
  __shared__ int slots[2][Shape::kStreamed];
  int sequence;
  const RowBlock b = manyRows(p, plan, Shape::kRows, sequence);
  const Sequence s(p, sequence, blockIdx.y, fault);
  if (b.count > 0 && s.good) attendTile<Shape>(PagedRows<Shape>{s, slots, b.first, b.count}, int(p.headDim), float(p.scale), sharedAddress(memory));
}

// ---- any dtypes, float32 arithmetic ----
template <class Shape>
struct PagedElements {
  const Sequence& s;
  const Piece* piece;  // null for many rows
  const PagedPlan& plan;
  Elements q, k, v, o;
  int first, rows, from, to;

  LANTERN_DEVICE PagedElements(const Sequence& s, const Piece* piece, const PagedPlan& plan, bool vectors, int first, int rows)
      : s(s), piece(piece), plan(plan), q{s.p.q, int(s.p.dtype), vectors}, k{s.p.kCache, int(s.p.cacheDtype), vectors},
        v{s.p.vCache, int(s.p.cacheDtype), vectors}, o{s.p.out, int(s.p.dtype), vectors}, first(first), rows(rows) {
    from = piece ? piece->from : low(0), to = piece ? piece->to : high(rows - 1);
  }
  LANTERN_DEVICE int low(int r) const { return s.rowLow(first + r); }
  LANTERN_DEVICE int high(int r) const { return s.rowHigh(first + r); }
  LANTERN_DEVICE int64_t query(int r) const { return s.queryAt(first + r); }
  LANTERN_DEVICE int64_t key(int j) const { return s.cacheAt(s.slot(j)); }
  LANTERN_DEVICE int64_t value(int j) const { return key(j); }
  LANTERN_DEVICE void finish(int r, const float (&sums)[Shape::kHeadDim / 64][4], float top, float total) const {
    const int headDim = int(s.p.headDim);
    if (!piece || piece->count == 1) return storeSimtRow<Shape>(sums, 1.f / total, o, s.outAt(first + r), headDim);
    const int64_t record = piece->record(s, plan, r);
    storeSimtRow<Shape>(sums, 1.f, {plan.sums, int(kFloat32), headDim % 4 == 0}, record * headDim, headDim);
    if (simtX() == 0) plan.stats[2 * record] = top * float(s.p.scale) * kLog2e, plan.stats[2 * record + 1] = total;
  }
};

template <class Shape>
LANTERN_DEVICE void decodeSimt(const PagedAttentionParams& p, const PagedPlan& plan, bool vectors, Fault* fault, unsigned char* memory) {
  const Sequence s(p, blockIdx.z, int(blockIdx.y) / plan.rowTiles, fault);
  if (blockIdx.x == 0) s.reportContext();
  const Piece piece(s, plan, int(blockIdx.y) % plan.rowTiles, blockIdx.x);
  if (piece.rows <= 0) return;
  attendSimt<Shape>(PagedElements<Shape>(s, &piece, plan, vectors, piece.first, piece.rows), int(p.headDim), float(p.scale),
                    reinterpret_cast<float*>(memory));
}

template <class Shape>
LANTERN_DEVICE void prefillSimt(const PagedAttentionParams& p, const PagedPlan& plan, bool vectors, Fault* fault, unsigned char* memory) {
  int sequence;
  const RowBlock b = manyRows(p, plan, Shape::kRows, sequence);
  const Sequence s(p, sequence, blockIdx.y, fault);
  if (b.count <= 0 || !s.good) return;
  attendSimt<Shape>(PagedElements<Shape>(s, nullptr, plan, vectors, b.first, b.count), int(p.headDim), float(p.scale),
                    reinterpret_cast<float*>(memory));
}

}  // namespace

// The pieces of a row, in order: a warp a row, blocks are numbered (four rows, key head, sequence).
extern "C" __global__ void __launch_bounds__(128) pagedAttention_merge(const __grid_constant__ PagedAttentionParams p,
                                                                       const __grid_constant__ PagedPlan plan, Fault* fault) {
  if (!seqlensHold(p, fault)) return;
  const Sequence s(p, blockIdx.z, blockIdx.y, fault);
  const int row = int(blockIdx.x) * 4 + int(threadIdx.x) / kWarp, headDim = int(p.headDim);
  const Piece piece(s, plan, row / kDecodeRows, 0);
  if (piece.count == 1 || row % kDecodeRows >= piece.rows) return;
  const int64_t first = piece.record(s, plan, row % kDecodeRows), step = plan.rowTiles * kDecodeRows;
  float top = -INFINITY;
  for (int i = threadIdx.x % kWarp; i < piece.count; i += kWarp) top = fmaxf(top, plan.stats[2 * (first + i * step)]);
  top = warpReduce(top, Max());
  const Elements out{p.out, int(p.dtype), false};
  for (int d = threadIdx.x % kWarp; d < headDim; d += kWarp) {
    float sum = 0, total = 0;
#pragma unroll 4
    for (int i = 0; i < piece.count; ++i) {
      const int64_t record = first + i * step;
      const float factor = exp2Approx(plan.stats[2 * record] - top);
      total = fmaf(plan.stats[2 * record + 1], factor, total);
      sum = fmaf(plan.sums[record * headDim + d], factor, sum);
    }
    const float x[4] = {sum / total};
    out.store(x, s.outAt(row) + d, 1);
  }
}

// Rows of k and v into their slots, a warp a token. Every block looks at all slots first: with a bad one, nothing is written.
extern "C" __global__ void __launch_bounds__(256) pagedAttention_cacheWrite(const __grid_constant__ CacheWriteParams p, bool vectors, Fault* fault) {
  __shared__ int scratch[8];
  int bad = 0;
  for (int t = threadIdx.x; t < int(p.tokens); t += blockDim.x)
    if (const int slot = p.slotMapping[t]; slot < -1 || slot >= p.slots) {
      bad = 1;
      report(fault, FaultKind::cacheSlot, "cacheWrite", slot, t, p.slots);
    }
  if (blockReduce(bad, Sum(), scratch) != 0) return;
  const int width = vectors ? 4 : 1, lane = threadIdx.x % kWarp;
  const Elements k{p.k, int(p.dtype), vectors}, v{p.v, int(p.dtype), vectors};
  const Elements kTo{p.kCache, int(p.cacheDtype), vectors}, vTo{p.vCache, int(p.cacheDtype), vectors};
  for (int64_t t = int64_t(blockIdx.x) * 8 + threadIdx.x / kWarp; t < p.tokens; t += int64_t(gridDim.x) * 8) {
    const int64_t slot = p.slotMapping[t];
    if (slot < 0) continue;
    for (int64_t i = lane * width; i < p.cols; i += kWarp * width) {
      float x[4], y[4];
      k.load(x, t * p.kStride + i, width), v.load(y, t * p.vStride + i, width);
      kTo.store(x, slot * p.cols + i, width), vTo.store(y, slot * p.cols + i, width);
    }
  }
}

#define LANTERN_ENTRY(step, Shape, headDim)                                                                                              \
  extern "C" __global__ void __launch_bounds__(Shape<headDim>::kThreads)                                                                 \
      pagedAttention_##step##Mma##headDim(const __grid_constant__ PagedAttentionParams p, const __grid_constant__ PagedPlan plan, Fault* fault) { \
    extern __shared__ __align__(128) unsigned char memory[];                                                                             \
    if (seqlensHold(p, fault)) step##Mma<Shape<headDim>>(p, plan, fault, memory);                                                        \
  }
LANTERN_ENTRY(decode, DecodeShape, 64)
LANTERN_ENTRY(decode, DecodeShape, 96)
LANTERN_ENTRY(decode, DecodeShape, 128)
LANTERN_ENTRY(prefill, ForwardShape, 64)
LANTERN_ENTRY(prefill, ForwardShape, 96)
LANTERN_ENTRY(prefill, ForwardShape, 128)
#undef LANTERN_ENTRY

#define LANTERN_ENTRY(step, Shape, headDim)                                                                                              \
  extern "C" __global__ void __launch_bounds__(kSimtThreads, 1)                                                                          \
      pagedAttention_##step##Simt##headDim(const __grid_constant__ PagedAttentionParams p, const __grid_constant__ PagedPlan plan, bool vectors, \
                                           Fault* fault) {                                                                               \
    extern __shared__ __align__(128) unsigned char memory[];                                                                             \
    if (seqlensHold(p, fault)) step##Simt<Shape##headDim>(p, plan, vectors, fault, memory);                                              \
  }
LANTERN_ENTRY(decode, SimtDecode, 64)
LANTERN_ENTRY(decode, SimtDecode, 128)
LANTERN_ENTRY(decode, SimtDecode, 256)
LANTERN_ENTRY(prefill, Simt, 64)
LANTERN_ENTRY(prefill, Simt, 128)
LANTERN_ENTRY(prefill, Simt, 256)
#undef LANTERN_ENTRY

}  // namespace lantern::cuda
