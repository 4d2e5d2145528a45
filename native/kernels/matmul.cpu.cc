#include "matmul.h"

#include <algorithm>

#include "common/pack.h"
#include "common/split.h"
#include "common/types.h"
#include "matmulPaths.h"

namespace lantern::LANTERN_ISA {

namespace {

// Sizes of the packed path, all functions of the matrix alone. A is packed once, in blocks that stay in the last-level cache, and shared by
// all threads. An item is a block of rows times a group of columns: its thread packs the columns of B, k block by k block (a panel fills
// half of the first-level cache), and streams the rows of A past them. Products wait in scratch memory, so y is touched once.
constexpr int64_t kBlockK = 256;           // units
constexpr int64_t kSharedUnits = 4 << 20;  // of A: 16 MiB
constexpr int64_t kItemRows = 96 * kTileRows, kItemPanels = 1;

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
  plan.aPanel = panelUnits(kUnits, kTileRows);
  plan.bPanel = panelUnits(kUnits, kTileCols);
  return plan;
}

// `count` panels of `width` rows (or columns) of src from `first` on, elements [k0, k0 + k) of the reduction.
template <class U, class T>
void packPanels(unit* dst, int64_t stride, int64_t width, const T* src, int64_t ld, bool inner, int64_t first, int64_t end, int64_t k0, int64_t k) {
  for (int64_t i = first; i < end; i += width, dst += stride) {
    if (inner) packInner<U>(dst, width, src + i * ld + k0, ld, end - i, k);
    else packOuter<U>(dst, width, src + k0 * ld + i, ld, end - i, k);
  }
}

template <class U, class A, class B>
Status matmulPacked(const MatmulParams& p, Context& c) {
  const A* a = static_cast<const A*>(p.a);
  const B* b = static_cast<const B*>(p.b);
  const Plan plan = planFor<U>(p);
  const int64_t panels = plan.blockRows / kTileRows, rowItems = ceilDiv(plan.blockRows, plan.itemRows), colItems = ceilDiv(p.n, plan.itemCols);
  const int64_t bUnits = plan.itemCols / kTileCols * plan.bPanel, products = plan.itemRows * plan.itemCols;
  unit* packedA = static_cast<unit*>(c.workspace.shared(size_t(plan.kBlocks * panels * plan.aPanel) * sizeof(unit)));
  if (!packedA) return Status::error(Code::outOfMemory, "matmul: no memory for packing; use smaller batches");
  std::atomic<bool> failed{false};

  for (int64_t m0 = 0; m0 < p.m; m0 += plan.blockRows) {
    const int64_t mEnd = std::min(p.m, m0 + plan.blockRows);
    constexpr int64_t kPackPanels = 8;  // neighbours share cache lines when the reduction is the outer dimension
    const int64_t groups = ceilDiv(panels, kPackPanels);
    c.pool.parallel(groups * plan.kBlocks, [&](int64_t item, int) {
      const int64_t panel = item % groups * kPackPanels, kb = item / groups, k0 = kb * plan.kElements;
      const int64_t first = m0 + panel * kTileRows, end = std::min(mEnd, first + kPackPanels * kTileRows);
      packPanels<U>(packedA + (kb * panels + panel) * plan.aPanel, plan.aPanel, kTileRows, a, p.lda, !p.transposeA, first, end, k0,
                    std::min(plan.kElements, p.k - k0));
    });
    c.pool.parallel(rowItems * colItems, [&](int64_t item, int thread) {
      unit* packedB = static_cast<unit*>(c.workspace.local(thread, size_t(bUnits + products) * sizeof(unit)));
      if (!packedB) return failed.store(true);
      float* product = reinterpret_cast<float*>(packedB + bUnits);
      const int64_t row = item / colItems * plan.itemRows, col = item % colItems * plan.itemCols;
      const int64_t rows = std::min(plan.itemRows, mEnd - m0 - row), cols = std::min(plan.itemCols, p.n - col);
      if (rows <= 0) return;
      for (int64_t kb = 0; kb < plan.kBlocks; ++kb) {
        const int64_t k0 = kb * plan.kElements, k = std::min(plan.kElements, p.k - k0);
        packPanels<U>(packedB, plan.bPanel, kTileCols, b, p.ldb, p.transposeB, col, col + cols, k0, k);
        const unit* panelA = packedA + (kb * panels + row / kTileRows) * plan.aPanel;
        float* tile = product;
        for (int64_t j = 0; j * kTileCols < cols; ++j)
          for (int64_t i = 0; i * kTileRows < rows; ++i, tile += kTileRows * kTileCols)
            multiplyTile<U>(unitsOf<U>(k), panelA + i * plan.aPanel, packedB + j * plan.bPanel, tile, kb > 0);
      }
      const float* tile = product;
      for (int64_t j = 0; j < cols; j += kTileCols)
        for (int64_t i = 0; i < rows; i += kTileRows, tile += kTileRows * kTileCols)
          finishBlock(p, m0 + row + i, col + j, tile, kTileCols, std::min<int64_t>(kTileRows, rows - i), std::min<int64_t>(kTileCols, cols - j));
    });
  }
  return failed ? Status::error(Code::outOfMemory, "matmul: no memory for packing; use fewer threads") : Status::fine();
}

}  // namespace

Status matmul(const MatmulParams& p, Context& c) {
  if (p.m == 0 || p.n == 0) return Status::fine();
  if (!p.transposeA && p.transposeB && p.m <= kFewRows && p.k > 0) return p.m <= kVectorRows ? matmulVector(p, c) : matmulFewRows(p, c);
  return forTypes(p.aDtype, p.bDtype, [&](auto a, auto b) {
    return matmulPacked<Multiplied<decltype(a), decltype(b)>, decltype(a), decltype(b)>(p, c);
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
