// The forward pass on tensor cores, for rows of queries against a run of keys wherever they lie: attention and pagedAttention share it.
#pragma once
#include "attentionRows.cuh"
#include "attentionTile.cuh"

namespace lantern::cuda {

// The online softmax of a warp's rows, in raw scores; c = scale * log2(e).
template <class Shape>
struct OnlineSoftmax {
  float out[Shape::kRowTiles][Shape::kHeadDim / 8][4] = {};
  float top[Shape::kRowTiles][2], total[Shape::kRowTiles][2];  // largest score so far; this thread's columns' sum of weights

  LANTERN_DEVICE OnlineSoftmax() {
#pragma unroll
    for (int i = 0; i < Shape::kRowTiles; ++i) top[i][0] = top[i][1] = -INFINITY, total[i][0] = total[i][1] = 0;
  }

  // Scores become weights; what was summed before is scaled where a new largest score was found.
  LANTERN_DEVICE void weigh(float (&s)[Shape::kRowTiles][Shape::kStreamed / 8][4], float c) {
#pragma unroll
    for (int i = 0; i < Shape::kRowTiles; ++i) {
      float alpha[2];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float m = top[i][h];
#pragma unroll
        for (int j = 0; j < Shape::kStreamed / 8; ++j) m = fmaxf(m, fmaxf(s[i][j][2 * h], s[i][j][2 * h + 1]));
        m = warpReduce<4>(m, Max());
        const float shift = m == -INFINITY ? 0.f : m * c;  // a row that has seen nothing keeps weights of 0
        alpha[h] = exp2Approx(top[i][h] * c - shift);
        top[i][h] = m;
        float sum = 0;
#pragma unroll
        for (int j = 0; j < Shape::kStreamed / 8; ++j) {
          float &x = s[i][j][2 * h], &y = s[i][j][2 * h + 1];
          x = exp2Approx(x * c - shift), y = exp2Approx(y * c - shift);
          sum += x + y;
        }
        total[i][h] = total[i][h] * alpha[h] + sum;
      }
      if (!__any_sync(kAllLanes, alpha[0] != 1.f || alpha[1] != 1.f)) continue;  // times 1 changes nothing
#pragma unroll
      for (int j = 0; j < Shape::kHeadDim / 8; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) out[i][j][e] *= alpha[e / 2];
    }
  }

  LANTERN_DEVICE void finish() {
#pragma unroll
    for (int i = 0; i < Shape::kRowTiles; ++i)
#pragma unroll
      for (int h = 0; h < 2; ++h) total[i][h] = warpReduce<4>(total[i][h], Sum());
  }
};

// Problem: `rows` rows of headDim elements; query(r), out(r): addresses of row r; low(r), high(r): the keys it sees, ascending with r;
// prepare(base, turn): all threads, a barrier before the keys base .. are first asked for; key(j, turn), value(j, turn): addresses, or null;
// logSumExp(r, x): takes the row's result.
template <class Shape, class Problem>
LANTERN_DEVICE void attendTile(const Problem& p, int headDim, float scale, uint32_t memory) {
  constexpr int kStreamed = Shape::kStreamed;
  const uint32_t queries = memory, keys = queries + Shape::kRows * Shape::kRowBytes, values = keys + kStreamed * Shape::kRowBytes;
  const int firstRow = threadIdx.x / kWarp * Shape::kRowTiles * 16, lastRow = firstRow + Shape::kRowTiles * 16 - 1;
  const int from = p.low(0), to = p.high(p.rows - 1);
  const bf16* anywhere = p.query(0);
  const auto loadKeys = [&](int base, int turn) {
    loadTile<Shape, kStreamed>(keys, anywhere, to - base, headDim, [&](int j) { return p.key(base + j, j, turn); });
    commitCopies();
  };
  p.prepare(from, to, 0);
  __syncthreads();
  loadTile<Shape, Shape::kRows>(queries, anywhere, p.rows, headDim, [&](int r) { return p.query(r); });
  loadKeys(from, 0);
  OnlineSoftmax<Shape> softmax;
  const float c = scale * kLog2e;
  for (int base = from, turn = 0; base < to; base += kStreamed, turn ^= 1) {
    waitCopies<0>();
    __syncthreads();  // the keys are there, and nobody reads the values before them any more
    loadTile<Shape, kStreamed>(values, anywhere, to - base, headDim, [&](int j) { return p.value(base + j, j, turn); });
    commitCopies();
    if (base + kStreamed < to) p.prepare(base + kStreamed, to, turn ^ 1);
    const bool seen = firstRow < p.rows && base < p.high(min(lastRow, p.rows - 1)) && base + kStreamed > p.low(firstRow);
    float s[Shape::kRowTiles][kStreamed / 8][4];
    if (seen) rowProducts<Shape>(s, queries, firstRow, keys);
    waitCopies<0>();
    __syncthreads();
    if (base + kStreamed < to) loadKeys(base + kStreamed, turn ^ 1);
    if (!seen) continue;
    maskTile<Shape>(s, firstRow, lastRow, base, p, -INFINITY);
    softmax.weigh(s, c);
    columnProducts<Shape>(softmax.out, s, values);
  }
  softmax.finish();
#pragma unroll
  for (int i = 0; i < Shape::kRowTiles; ++i)
#pragma unroll
    for (int h = 0; h < 2; ++h)
      if (const int r = firstRow + fragmentRow(i, h); threadIdx.x % 4 == 0 && r < p.rows)
        p.logSumExp(r, softmax.top[i][h] * scale + __logf(softmax.total[i][h]));
  storeRows<Shape>(queries, softmax.out, firstRow, p.rows, headDim, [&](int i, int h) { return 1.f / softmax.total[i][h]; },
                   [&](int r) { return p.out(r); });
}

}  // namespace lantern::cuda
