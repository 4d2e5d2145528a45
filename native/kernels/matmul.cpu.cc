#include "matmul.h"

#include <algorithm>
#include <atomic>

#include "common/pack.h"
#include "common/split.h"
#include "common/types.h"
#include "matmulPaths.h"

namespace lantern::LANTERN_ISA {

namespace {

// Sizes of the packed path, all functions of the matrix alone. A is packed once, in blocks that stay in the last-level cache, and shared by
// all threads. An item is a block of rows times a group of columns: its thread packs the columns of B, k block by k block, and runs the rows
// of A past them in strips that stay in the second-level cache, while a panel of B fills half of the first. Products of all k blocks but
// the last wait in scratch memory, so y is touched once.
constexpr int64_t kBlockK = 256;                // units
constexpr int64_t kSharedUnits = 4 << 20;       // of A: 16 MiB
constexpr int64_t kStripRows = 24 * kTileRows;  // 144 KiB of A on avx2
constexpr int64_t kItemRows = 4 * kStripRows, kItemPanels = 4;

int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t roundUp(int64_t a, int64_t b) { return ceilDiv(a, b) * b; }

struct Plan {
  int64_t kBlocks, kElements;  // how many k blocks, elements of the reduction in each (the last may have fewer)
  int64_t blockRows;           // rows of A that are packed at a time
  int64_t itemRows, itemCols;
  int64_t aPanel, bPanel;      // units from one panel to the next
};

template <class U>
Plan planFor(const MatmulParams& p) {
  Plan plan;
  const int64_t units = std::max<int64_t>(1, unitsOf<U>(p.k));
  plan.kBlocks = ceilDiv(units, kBlockK);
  const int64_t kUnits = roundUp(ceilDiv(units, plan.kBlocks), kLanes);
  plan.kBlocks = ceilDiv(units, kUnits);
  plan.kElements = kUnits * kUnit<U>;
  const int64_t most = std::max<int64_t>(32 * kTileRows, kSharedUnits / units), blocks = ceilDiv(p.m, most);
  plan.blockRows = roundUp(ceilDiv(p.m, blocks), kTileRows);
  plan.itemRows = roundUp(ceilDiv(plan.blockRows, ceilDiv(plan.blockRows, kItemRows)), kTileRows);
  plan.itemCols = kItemPanels * kTileCols;
  constexpr int64_t kFewItems = 16;  // a small output is cut finer, so that there is work for every thread
  const auto items = [&] { return ceilDiv(plan.blockRows, plan.itemRows) * ceilDiv(p.n, plan.itemCols); };
  while (items() < kFewItems && plan.itemCols > kTileCols) plan.itemCols -= kTileCols;
  plan.aPanel = panelUnits(kUnits, kTileRows);
  plan.bPanel = panelUnits(kUnits, kTileCols);
  return plan;
}

// Panels of `width` rows (or columns) `first` to `end` of src, elements [k0, k0 + k) of the reduction.
template <class U, class T>
void packPanels(unit* dst, int64_t stride, int64_t width, const T* src, int64_t ld, bool inner, int64_t first, int64_t end, int64_t k0, int64_t k) {
  if (!inner) return packOuter<U>(dst, stride, ceilDiv(end - first, width), width, src + k0 * ld + first, ld, end - first, k);
  for (int64_t i = first; i < end; i += width, dst += stride) packInner<U>(dst, width, src + i * ld + k0, ld, end - i, k);
}

// Fetches a block of rows into the second-level cache, a few lines at a time, while something else is computed.
struct Prefetcher {
  const char* row = nullptr;
  int64_t stride = 0, rows = 0, bytes = 0, at = 0;

  void fetch(int64_t lines) {
    for (; lines > 0 && rows > 0; --lines) {
      __builtin_prefetch(row + at, 0, 2);
      if ((at += 64) < bytes) continue;
      at = 0, --rows, row += stride;
    }
  }
};

template <class U, class A, class B, class Y>
struct Packed {
  const MatmulParams& p;
  const Plan plan;
  unit* packedA;
  const int64_t panels = plan.blockRows / kTileRows;

  // Where elements [k0, k0 + k) of the reduction of B's columns [col, col + cols) lie.
  Prefetcher blockOfB(int64_t col, int64_t cols, int64_t kb) const {
    if (kb >= plan.kBlocks || cols <= 0) return {};
    const B* b = static_cast<const B*>(p.b);
    const int64_t k0 = kb * plan.kElements, k = std::min(plan.kElements, p.k - k0), stride = p.ldb * int64_t(sizeof(B));
    if (p.transposeB) return {reinterpret_cast<const char*>(b + col * p.ldb + k0), stride, cols, k * int64_t(sizeof(B))};
    return {reinterpret_cast<const char*>(b + k0 * p.ldb + col), stride, k, cols * int64_t(sizeof(B))};
  }

  void packA(int64_t m0, int64_t mEnd, int64_t panel, int64_t count, int64_t kb) const {
    const int64_t k0 = kb * plan.kElements, first = m0 + panel * kTileRows, end = std::min(mEnd, first + count * kTileRows);
    packPanels<U>(packedA + (kb * panels + panel) * plan.aPanel, plan.aPanel, kTileRows, static_cast<const A*>(p.a), p.lda, !p.transposeA, first,
                  end, k0, std::min(plan.kElements, p.k - k0));
  }

  // y[m0 + row...][col...] for an item; `scratch` holds a group of B panels and the products.
  void item(int64_t m0, int64_t row, int64_t rows, int64_t col, int64_t cols, unit* scratch) const {
    float* const product = reinterpret_cast<float*>(scratch + plan.itemCols / kTileCols * plan.bPanel);
    constexpr int64_t kAhead = 4;
    const int64_t tiles = ceilDiv(rows, kTileRows), groups = ceilDiv(cols, kTileCols);
    for (int64_t kb = 0; kb < plan.kBlocks; ++kb) {
      const int64_t k0 = kb * plan.kElements, k = std::min(plan.kElements, p.k - k0);
      packPanels<U>(scratch, plan.bPanel, kTileCols, static_cast<const B*>(p.b), p.ldb, p.transposeB, col, col + cols, k0, k);
      const bool last = kb + 1 == plan.kBlocks;
      Prefetcher next = last ? blockOfB(col + plan.itemCols, std::min(plan.itemCols, p.n - col - plan.itemCols), 0) : blockOfB(col, cols, kb + 1);
      const int64_t lines = ceilDiv(next.rows * ceilDiv(next.bytes, 64), tiles * groups);
      const unit* a = packedA + (kb * panels + row / kTileRows) * plan.aPanel;
      for (int64_t strip = 0; strip < tiles; strip += kStripRows / kTileRows)
        for (int64_t j = 0; j < groups; ++j)
          for (int64_t i = strip; i < std::min(tiles, strip + kStripRows / kTileRows); ++i) {
            const int64_t r = m0 + row + i * kTileRows, c = col + j * kTileCols;
            const int64_t tileRows = std::min<int64_t>(kTileRows, rows - i * kTileRows), tileCols = std::min<int64_t>(kTileCols, col + cols - c);
            float* tile = product + (j * tiles + i) * kTileRows * kTileCols;
            next.fetch(lines);
            if (last) prefetchTile(r + kAhead * kTileRows, c, std::min<int64_t>(kTileRows, rows - (i + kAhead) * kTileRows));
            multiplyTile<U>(unitsOf<U>(k), a + i * plan.aPanel, scratch + j * plan.bPanel, tile, kb > 0);
            if (!last) continue;
            for (int64_t t = 0; t < tileRows; ++t) finishRow<Y>(p, r + t, c, tile + t * kTileCols, tileCols);
          }
    }
  }

  LANTERN_INLINE void prefetchTile(int64_t row, int64_t col, int64_t rows) const {
    for (int64_t t = 0; t < rows; ++t) {
      __builtin_prefetch(static_cast<Y*>(p.y) + (row + t) * p.ldy + col, 1);
      if (p.residual && p.residual != p.y) prefetch(static_cast<const Y*>(p.residual) + (row + t) * p.ldResidual + col);
    }
  }
};

template <class U, class A, class B, class Y>
Status matmulPacked(const MatmulParams& p, Context& c) {
  const Plan plan = planFor<U>(p);
  const int64_t panels = plan.blockRows / kTileRows, rowItems = ceilDiv(plan.blockRows, plan.itemRows), colItems = ceilDiv(p.n, plan.itemCols);
  const size_t scratchUnits = size_t(plan.itemCols / kTileCols * plan.bPanel + plan.itemRows * plan.itemCols);
  unit* packedA = static_cast<unit*>(c.workspace.shared(size_t(plan.kBlocks * panels * plan.aPanel) * sizeof(unit)));
  if (!packedA) return Status::error(Code::outOfMemory, "matmul: no memory for packing; use smaller batches");
  std::atomic<bool> failed{false};
  const Packed<U, A, B, Y> packed{p, plan, packedA};
  for (int64_t m0 = 0; m0 < p.m; m0 += plan.blockRows) {
    const int64_t mEnd = std::min(p.m, m0 + plan.blockRows);
    constexpr int64_t kPackPanels = 8;
    const int64_t groups = ceilDiv(ceilDiv(mEnd - m0, kTileRows), kPackPanels);
    c.pool.parallel(groups * plan.kBlocks, [&](int64_t item, int) {
      const int64_t panel = item % groups * kPackPanels;
      packed.packA(m0, mEnd, panel, kPackPanels, item / groups);
    });
    c.pool.parallel(rowItems * colItems, [&](int64_t item, int thread) {
      unit* scratch = static_cast<unit*>(c.workspace.local(thread, scratchUnits * sizeof(unit)));
      if (!scratch) return failed.store(true);
      const int64_t row = item / colItems * plan.itemRows, col = item % colItems * plan.itemCols, rows = std::min(plan.itemRows, mEnd - m0 - row);
      if (rows > 0) packed.item(m0, row, rows, col, std::min(plan.itemCols, p.n - col), scratch);
    });
  }
  return failed ? Status::error(Code::outOfMemory, "matmul: no memory for packing; use fewer threads") : Status::fine();
}

}  // namespace

Status matmul(const MatmulParams& p, Context& c) {
  if (p.m == 0 || p.n == 0) return Status::fine();
  if (!p.transposeA && p.transposeB && p.m <= kFewRows && p.k > 0) return p.m <= kVectorRows ? matmulVector(p, c) : matmulFewRows(p, c);
  return forTypes(p.aDtype, p.bDtype, [&](auto a, auto b) {
    using A = decltype(a);
    using B = decltype(b);
    return forType(p.yDtype, [&](auto y) { return matmulPacked<Multiplied<A, B>, A, B, decltype(y)>(p, c); });
  });
}

Status activationBackward(const ActivationBackwardParams& p, Context& c) {
  return forType(p.dtype, [&](auto t) {
    using T = decltype(t);
    const T *dy = static_cast<const T*>(p.dy), *z = static_cast<const T*>(p.z);
    T* dz = static_cast<T*>(p.dz);
    parallelRange(c.pool, p.count, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i += kLanes) {
        const vfloat x = loadPart(z + i, end - i);
        const vfloat slope = p.activation == kSilu ? siluGradient(x) : p.activation == kGelu ? geluGradient(x) : splat(1.f);
        storePart(dz + i, loadPart(dy + i, end - i) * slope, end - i);
      }
    });
    return Status::fine();
  });
}

// An item is a strip of columns, one cache line of bf16 times four; rows are summed in runs of 64, so that error grows with rows / 64.
Status columnSum(const ColumnSumParams& p, Context& c) {
  return forType(p.dtype, [&](auto t) {
    using T = decltype(t);
    constexpr int64_t kStrip = 128, kRun = 64;
    c.pool.parallel(ceilDiv(p.cols, kStrip), [&](int64_t item, int) {
      const int64_t col = item * kStrip, cols = std::min(kStrip, p.cols - col);
      for (int64_t r0 = 0; r0 < p.rows; r0 += kRun) {
        vfloat run[kStrip / kLanes] = {};
        for (int64_t r = r0; r < std::min(p.rows, r0 + kRun); ++r) {
          const T* x = static_cast<const T*>(p.x) + r * p.ldx + col;
          for (int64_t i = 0; i < cols; i += kLanes) run[i / kLanes] += loadPart(x + i, cols - i);
        }
        for (int64_t i = 0; i < cols; i += kLanes) storePart(p.sum + col + i, loadPart(p.sum + col + i, cols - i) + run[i / kLanes], cols - i);
      }
    });
    return Status::fine();
  });
}

}  // namespace lantern::LANTERN_ISA
