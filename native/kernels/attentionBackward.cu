// Two passes over the same tiles, so that every sum has one owner and the result never depends on the order of blocks: queries as rows give
// dq, keys as rows give dk and dv. Both recompute the weights from lse. D_i = dout_i . out_i is computed before them.
#include "attention.h"

#include "attentionSimt.cuh"
#include "attentionTile.cuh"

namespace lantern::cuda {

namespace {

struct View {  // one head of a packed tensor from a token on
  bf16* base;
  int64_t stride;
  LANTERN_DEVICE View(const void* x, int64_t token, int64_t rowStride, int64_t head, int64_t headDim)
      : base(static_cast<bf16*>(const_cast<void*>(x)) + token * rowStride + head * headDim), stride(rowStride) {}
  LANTERN_DEVICE bf16* row(int i) const { return base + i * stride; }
};

struct Sees : Window {  // rows of a tile
  int first;
  LANTERN_DEVICE Sees(const RowBlock& b, int64_t before, int64_t after) : Window(b.length, before, after), first(b.first) {}
  LANTERN_DEVICE int low(int r) const { return Window::low(first + r); }
  LANTERN_DEVICE int high(int r) const { return Window::high(first + r); }
};

LANTERN_DEVICE RowBlock myRows(const AttentionBackwardParams& p, int rows) {
  int sequence;
  if (!checkSeqlens(p.cuSeqlens, p.sequences, p.tokens, nullptr, nullptr)) return {};  // attentionBackward_delta has told of it
  return findRows(p.cuSeqlens, int(p.sequences), int(p.tokens), rows, int(blockIdx.x), 1, sequence);
}

// step(i, stage) for i = 0 .. steps - 1; load(i, stage) has started its copies one step before.
template <class Shape, class Load, class Step>
LANTERN_DEVICE void stream(int steps, Load&& load, Step&& step) {
  if (steps <= 0) return;
  load(0, 0);
  commitCopies();
  for (int i = 0; i < steps; ++i) {
    waitCopies<0>();
    __syncthreads();  // step i has arrived, and nobody reads the stage of step i - 1 any more
    if (i + 1 < steps) load(i + 1, (i + 1) & 1);
    commitCopies();
    step(i, i & 1);
  }
  __syncthreads();
}

template <class Shape>
struct Tiles {  // shared memory: two tiles of rows, two stages of two streamed tiles, two stages of two numbers per streamed row
  uint32_t a, b;
  LANTERN_DEVICE explicit Tiles(uint32_t memory) : a(memory), b(memory + Shape::kRows * Shape::kRowBytes) {}
  LANTERN_DEVICE uint32_t first(int stage) const { return b + Shape::kRows * Shape::kRowBytes + stage * Shape::kStageBytes; }
  LANTERN_DEVICE uint32_t second(int stage) const { return first(stage) + Shape::kStreamed * Shape::kRowBytes; }
  LANTERN_DEVICE uint32_t numbers(int stage, int which) const { return first(2) + (2 * stage + which) * Shape::kStreamed * 4; }
};

LANTERN_DEVICE void copyAsync4(uint32_t to, const void* from, bool inside) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(inside ? 4 : 0) : "memory");
}
LANTERN_DEVICE float2 loadPair(uint32_t address) {
  float2 x;
  asm volatile("ld.shared.v2.f32 {%0,%1}, [%2];" : "=f"(x.x), "=f"(x.y) : "r"(address) : "memory");
  return x;
}

// ---- tensor cores ----
template <class Shape>
LANTERN_DEVICE void queriesMma(const AttentionBackwardParams& p, const float* delta, uint32_t memory) {
  const RowBlock block = myRows(p, Shape::kRows);
  if (block.count <= 0) return;
  const int64_t head = blockIdx.y, kvHead = head / (p.heads / p.kvHeads), token = block.start + block.first, width = p.heads * p.headDim;
  const View q(p.q, token, p.qStride, head, p.headDim), dout(p.dout, token, width, head, p.headDim), dq(p.dq, token, p.dqStride, head, p.headDim);
  const View k(p.k, block.start, p.kStride, kvHead, p.headDim), v(p.v, block.start, p.vStride, kvHead, p.headDim);
  const Sees sees(block, p.windowLeft, p.windowRight);
  const Tiles<Shape> tiles(memory);
  const int headDim = int(p.headDim), from = sees.low(0), to = sees.high(block.count - 1);
  const int firstRow = threadIdx.x / kWarp * Shape::kRowTiles * 16, lastRow = firstRow + Shape::kRowTiles * 16 - 1;
  const float c = float(p.scale) * kLog2e;
  float sums[Shape::kRowTiles][Shape::kHeadDim / 8][4] = {}, lse[Shape::kRowTiles][2], d[Shape::kRowTiles][2];
#pragma unroll
  for (int i = 0; i < Shape::kRowTiles; ++i)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int64_t row = firstRow + fragmentRow(i, h), at = head * p.tokens + token + row;
      lse[i][h] = row < block.count ? p.lse[at] * kLog2e : 0.f, d[i][h] = row < block.count ? delta[at] : 0.f;
    }
  loadTile<Shape, Shape::kRows>(tiles.a, q.base, block.count, headDim, [&](int r) { return q.row(r); });
  loadTile<Shape, Shape::kRows>(tiles.b, q.base, block.count, headDim, [&](int r) { return dout.row(r); });
  const auto load = [&](int step, int stage) {
    const int base = from + step * Shape::kStreamed;
    loadTile<Shape, Shape::kStreamed>(tiles.first(stage), q.base, to - base, headDim, [&](int j) { return k.row(base + j); });
    loadTile<Shape, Shape::kStreamed>(tiles.second(stage), q.base, to - base, headDim, [&](int j) { return v.row(base + j); });
  };
  stream<Shape>((to - from + Shape::kStreamed - 1) / Shape::kStreamed, load, [&](int step, int stage) {
    const int base = from + step * Shape::kStreamed;
    if (firstRow >= block.count || base >= sees.high(min(lastRow, block.count - 1)) || base + Shape::kStreamed <= sees.low(firstRow)) return;
    float s[Shape::kRowTiles][Shape::kStreamed / 8][4], dp[Shape::kRowTiles][Shape::kStreamed / 8][4];
    rowProducts<Shape>(s, tiles.a, firstRow, tiles.first(stage));
    rowProducts<Shape>(dp, tiles.b, firstRow, tiles.second(stage));
    maskTile<Shape>(s, firstRow, lastRow, base, sees, -INFINITY);
#pragma unroll
    for (int i = 0; i < Shape::kRowTiles; ++i)
#pragma unroll
      for (int j = 0; j < Shape::kStreamed / 8; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) s[i][j][e] = exp2Approx(s[i][j][e] * c - lse[i][e / 2]) * (dp[i][j][e] - d[i][e / 2]);
    columnProducts<Shape>(sums, s, tiles.first(stage));
  });
  storeRows<Shape>(tiles.a, sums, firstRow, block.count, headDim, [&](int, int) { return float(p.scale); }, [&](int r) { return dq.row(r); });
}

template <class Shape>
LANTERN_DEVICE void keysMma(const AttentionBackwardParams& p, const float* delta, uint32_t memory) {
  const RowBlock block = myRows(p, Shape::kRows);
  if (block.count <= 0) return;
  const int64_t kvHead = blockIdx.y, group = p.heads / p.kvHeads, token = block.start + block.first, width = p.heads * p.headDim;
  const View k(p.k, token, p.kStride, kvHead, p.headDim), v(p.v, token, p.vStride, kvHead, p.headDim);
  const View dk(p.dk, token, p.dkStride, kvHead, p.headDim), dv(p.dv, token, p.dvStride, kvHead, p.headDim);
  const Sees sees(block, p.windowRight, p.windowLeft);
  const Tiles<Shape> tiles(memory);
  const int headDim = int(p.headDim), from = sees.low(0), to = sees.high(block.count - 1);
  const int firstRow = threadIdx.x / kWarp * Shape::kRowTiles * 16, lastRow = firstRow + Shape::kRowTiles * 16 - 1;
  const int perHead = (to - from + Shape::kStreamed - 1) / Shape::kStreamed;
  const float c = float(p.scale) * kLog2e;
  float dkSums[Shape::kRowTiles][Shape::kHeadDim / 8][4] = {}, dvSums[Shape::kRowTiles][Shape::kHeadDim / 8][4] = {};
  loadTile<Shape, Shape::kRows>(tiles.a, k.base, block.count, headDim, [&](int r) { return k.row(r); });
  loadTile<Shape, Shape::kRows>(tiles.b, k.base, block.count, headDim, [&](int r) { return v.row(r); });
  const auto load = [&](int step, int stage) {  // the heads of the group one after the other
    const int head = int(kvHead * group) + step / perHead;  // 64 bits would cost the register that is one too many
    const int base = from + step % perHead * Shape::kStreamed;
    const View q(p.q, block.start + base, p.qStride, head, p.headDim), dout(p.dout, block.start + base, width, head, p.headDim);
    loadTile<Shape, Shape::kStreamed>(tiles.first(stage), k.base, to - base, headDim, [&](int i) { return q.row(i); });
    loadTile<Shape, Shape::kStreamed>(tiles.second(stage), k.base, to - base, headDim, [&](int i) { return dout.row(i); });
    if (threadIdx.x < 2 * Shape::kStreamed) {
      const int which = threadIdx.x / Shape::kStreamed, i = threadIdx.x % Shape::kStreamed;
      const bool inside = base + i < to;
      const float* numbers = which == 0 ? p.lse : delta;
      copyAsync4(tiles.numbers(stage, which) + i * 4, inside ? numbers + head * p.tokens + block.start + base + i : numbers, inside);
    }
  };
  stream<Shape>(int(group) * perHead, load, [&](int step, int stage) {
    const int base = from + step % perHead * Shape::kStreamed;
    if (firstRow >= block.count || base >= sees.high(min(lastRow, block.count - 1)) || base + Shape::kStreamed <= sees.low(firstRow)) return;
    float s[Shape::kRowTiles][Shape::kStreamed / 8][4], dp[Shape::kRowTiles][Shape::kStreamed / 8][4];
    rowProducts<Shape>(s, tiles.a, firstRow, tiles.first(stage));
    rowProducts<Shape>(dp, tiles.b, firstRow, tiles.second(stage));
    maskTile<Shape>(s, firstRow, lastRow, base, sees, -INFINITY);
#pragma unroll
    for (int j = 0; j < Shape::kStreamed / 8; ++j) {
      const float2 lse = loadPair(tiles.numbers(stage, 0) + fragmentCol(j) * 4), d = loadPair(tiles.numbers(stage, 1) + fragmentCol(j) * 4);
#pragma unroll
      for (int i = 0; i < Shape::kRowTiles; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          s[i][j][e] = exp2Approx(s[i][j][e] * c - (e % 2 == 0 ? lse.x : lse.y) * kLog2e);
          dp[i][j][e] = s[i][j][e] * (dp[i][j][e] - (e % 2 == 0 ? d.x : d.y));
        }
    }
    columnProducts<Shape>(dvSums, s, tiles.second(stage));
    columnProducts<Shape>(dkSums, dp, tiles.first(stage));
  });
  storeRows<Shape>(tiles.a, dkSums, firstRow, block.count, headDim, [&](int, int) { return float(p.scale); }, [&](int r) { return dk.row(r); });
  storeRows<Shape>(tiles.b, dvSums, firstRow, block.count, headDim, [](int, int) { return 1.f; }, [&](int r) { return dv.row(r); });
}

// ---- float32 ----
template <class Shape>
struct Floats {
  float *a, *b, *first, *second, *weights;
  LANTERN_DEVICE explicit Floats(unsigned char* memory)
      : a(reinterpret_cast<float*>(memory)), b(a + Shape::kRows * Shape::kRowFloats), first(b + Shape::kRows * Shape::kRowFloats),
        second(first + Shape::kStreamed * Shape::kRowFloats), weights(second + Shape::kStreamed * Shape::kRowFloats) {}
};

template <class Shape>
LANTERN_DEVICE void queriesSimt(const AttentionBackwardParams& p, const float* delta, bool vectors, unsigned char* memory) {
  constexpr int M = Shape::kRows / 16, N = Shape::kStreamed / 16;
  const RowBlock block = myRows(p, Shape::kRows);
  if (block.count <= 0) return;
  const int64_t head = blockIdx.y, kvHead = head / (p.heads / p.kvHeads), token = block.start + block.first, D = p.headDim;
  const int dtype = int(p.dtype), headDim = int(D);
  const Elements q{p.q, dtype, vectors}, k{p.k, dtype, vectors}, v{p.v, dtype, vectors}, dout{p.dout, dtype, vectors}, dq{p.dq, dtype, vectors};
  const Sees sees(block, p.windowLeft, p.windowRight);
  const Floats<Shape> tiles(memory);
  const float c = float(p.scale) * kLog2e;
  float sums[M][Shape::kHeadDim / 64][4] = {}, lse[M], d[M];
#pragma unroll
  for (int i = 0; i < M; ++i) {
    const int row = simtY() * M + i;
    const int64_t at = head * p.tokens + token + row;
    lse[i] = row < block.count ? p.lse[at] : 0.f, d[i] = row < block.count ? delta[at] : 0.f;
  }
  loadRows<Shape, Shape::kRows>(tiles.a, q, block.count, headDim, [&](int r) { return (token + r) * p.qStride + head * D; });
  loadRows<Shape, Shape::kRows>(tiles.b, dout, block.count, headDim, [&](int r) { return ((token + r) * p.heads + head) * D; });
  const int to = sees.high(block.count - 1);
  for (int base = sees.low(0); base < to; base += Shape::kStreamed) {
    const int64_t at = block.start + base;
    __syncthreads();
    loadRows<Shape, Shape::kStreamed>(tiles.first, k, to - base, headDim, [&](int j) { return (at + j) * p.kStride + kvHead * D; });
    loadRows<Shape, Shape::kStreamed>(tiles.second, v, to - base, headDim, [&](int j) { return (at + j) * p.vStride + kvHead * D; });
    __syncthreads();
    float s[M][N], dp[M][N];
    simtRowProducts<Shape>(s, tiles.a, tiles.first);
    simtRowProducts<Shape>(dp, tiles.b, tiles.second);
#pragma unroll
    for (int i = 0; i < M; ++i) {
      const int low = sees.low(simtY() * M + i) - base, high = sees.high(simtY() * M + i) - base;
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const int key = simtX() + 16 * j;
        s[i][j] = key < low || key >= high ? 0.f : exp2Approx(s[i][j] * c - lse[i] * kLog2e) * (dp[i][j] - d[i]);
      }
    }
    simtColumnProducts<Shape>(sums, s, tiles.first, tiles.weights);
  }
#pragma unroll
  for (int i = 0; i < M; ++i)
    if (const int r = simtY() * M + i; r < block.count)
      storeSimtRow<Shape>(sums[i], float(p.scale), dq, (token + r) * p.dqStride + head * D, headDim);
}

template <class Shape>
LANTERN_DEVICE void keysSimt(const AttentionBackwardParams& p, const float* delta, bool vectors, unsigned char* memory) {
  constexpr int M = Shape::kRows / 16, N = Shape::kStreamed / 16;
  const RowBlock block = myRows(p, Shape::kRows);
  if (block.count <= 0) return;
  const int64_t kvHead = blockIdx.y, group = p.heads / p.kvHeads, token = block.start + block.first, D = p.headDim;
  const int dtype = int(p.dtype), headDim = int(D);
  const Elements q{p.q, dtype, vectors}, k{p.k, dtype, vectors}, v{p.v, dtype, vectors}, dout{p.dout, dtype, vectors};
  const Elements dk{p.dk, dtype, vectors}, dv{p.dv, dtype, vectors};
  const Sees sees(block, p.windowRight, p.windowLeft);
  const Floats<Shape> tiles(memory);
  const float c = float(p.scale) * kLog2e;
  float dkSums[M][Shape::kHeadDim / 64][4] = {}, dvSums[M][Shape::kHeadDim / 64][4] = {};
  loadRows<Shape, Shape::kRows>(tiles.a, k, block.count, headDim, [&](int r) { return (token + r) * p.kStride + kvHead * D; });
  loadRows<Shape, Shape::kRows>(tiles.b, v, block.count, headDim, [&](int r) { return (token + r) * p.vStride + kvHead * D; });
  const int to = sees.high(block.count - 1);
  for (int64_t head = kvHead * group; head < (kvHead + 1) * group; ++head)
    for (int base = sees.low(0); base < to; base += Shape::kStreamed) {
      const int64_t at = block.start + base;
      __syncthreads();
      loadRows<Shape, Shape::kStreamed>(tiles.first, q, to - base, headDim, [&](int i) { return (at + i) * p.qStride + head * D; });
      loadRows<Shape, Shape::kStreamed>(tiles.second, dout, to - base, headDim, [&](int i) { return ((at + i) * p.heads + head) * D; });
      __syncthreads();
      float s[M][N], dp[M][N];
      simtRowProducts<Shape>(s, tiles.a, tiles.first);
      simtRowProducts<Shape>(dp, tiles.b, tiles.second);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const int query = simtX() + 16 * j;
        const int64_t number = head * p.tokens + at + query;
        const float lse = base + query < to ? p.lse[number] : 0.f, d = base + query < to ? delta[number] : 0.f;
#pragma unroll
        for (int i = 0; i < M; ++i) {
          const int low = sees.low(simtY() * M + i) - base, high = sees.high(simtY() * M + i) - base;
          s[i][j] = query < low || query >= high ? 0.f : exp2Approx(s[i][j] * c - lse * kLog2e);
          dp[i][j] = s[i][j] * (dp[i][j] - d);
        }
      }
      simtColumnProducts<Shape>(dvSums, s, tiles.second, tiles.weights);
      simtColumnProducts<Shape>(dkSums, dp, tiles.first, tiles.weights);
    }
#pragma unroll
  for (int i = 0; i < M; ++i)
    if (const int r = simtY() * M + i; r < block.count) {
      storeSimtRow<Shape>(dkSums[i], float(p.scale), dk, (token + r) * p.dkStride + kvHead * D, headDim);
      storeSimtRow<Shape>(dvSums[i], 1.f, dv, (token + r) * p.dvStride + kvHead * D, headDim);
    }
}

}  // namespace

// D of every row, [heads, tokens]: 16 threads a row, 16 tokens of one head a block.
extern "C" __global__ void __launch_bounds__(kSimtThreads) attentionBackward_delta(const __grid_constant__ AttentionBackwardParams p, bool vectors,
                                                                                   float* delta, Fault* fault) {
  checkSeqlens(p.cuSeqlens, p.sequences, p.tokens, "attentionBackward", fault);
  const Elements out{p.out, int(p.dtype), vectors}, dout{p.dout, int(p.dtype), vectors};
  const int64_t token = int64_t(blockIdx.x) * kSimtSide + simtY(), row = (token * p.heads + blockIdx.y) * p.headDim;
  float sum = 0;
  for (int d = 4 * simtX(); token < p.tokens && d < p.headDim; d += 64) {
    float x[4], y[4];
    out.load(x, row + d, int(p.headDim) - d), dout.load(y, row + d, int(p.headDim) - d);
#pragma unroll
    for (int e = 0; e < 4; ++e) sum = fmaf(x[e], y[e], sum);
  }
  sum = warpReduce<16>(sum, Sum());
  if (simtX() == 0 && token < p.tokens) delta[blockIdx.y * p.tokens + token] = sum;
}

#define LANTERN_ENTRY(side, headDim)                                                                                             \
  extern "C" __global__ void __launch_bounds__(BackwardShape<headDim>::kThreads, 1)                                              \
      attentionBackward_##side##Mma##headDim(const __grid_constant__ AttentionBackwardParams p, const float* delta) {            \
    extern __shared__ __align__(128) unsigned char memory[];                                                                     \
    side##Mma<BackwardShape<headDim>>(p, delta, sharedAddress(memory));                                                          \
  }
LANTERN_ENTRY(queries, 64)
LANTERN_ENTRY(queries, 96)
LANTERN_ENTRY(queries, 128)
LANTERN_ENTRY(keys, 64)
LANTERN_ENTRY(keys, 96)
LANTERN_ENTRY(keys, 128)
#undef LANTERN_ENTRY

#define LANTERN_ENTRY(side, headDim)                                                                                             \
  extern "C" __global__ void __launch_bounds__(kSimtThreads, 1)                                                                  \
      attentionBackward_##side##Simt##headDim(const __grid_constant__ AttentionBackwardParams p, const float* delta, bool vectors) { \
    extern __shared__ __align__(128) unsigned char memory[];                                                                     \
    side##Simt<SimtBackward##headDim>(p, delta, vectors, memory);                                                                \
  }
LANTERN_ENTRY(queries, 64)
LANTERN_ENTRY(queries, 128)
LANTERN_ENTRY(queries, 256)
LANTERN_ENTRY(keys, 64)
LANTERN_ENTRY(keys, 128)
LANTERN_ENTRY(keys, 256)
#undef LANTERN_ENTRY

}  // namespace lantern::cuda
