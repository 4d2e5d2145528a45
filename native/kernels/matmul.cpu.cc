#include "matmul.h"

#include <algorithm>
#include <atomic>

#include "common/pack.h"
#include "common/split.h"
#include "common/types.h"
#include "matmulPaths.h"

namespace lantern::LANTERN_ISA {

namespace {

// Sizes of the packed path. The operand with fewer rows (of A) or columns (of B) is packed once, in blocks that stay in the last-level cache,
// and shared by all threads. An item is a span of it times a group of the other operand: its thread packs the group, k block by k block, into
// panels that stay in the second-level cache, and runs every shared panel past them. So the larger operand is read once and packed where it is
// used. Products of all k blocks but the last wait in scratch memory, so y is touched once; with few k blocks there is little of that, which is
// worth more than operands in the first-level cache.
constexpr int64_t kBlockK = 1024;          // units
constexpr int64_t kSharedUnits = 4 << 20;  // 16 MiB
constexpr int64_t kGroupUnits = 64 << 10;  // 256 KiB, and as much of the next group is fetched meanwhile
constexpr int64_t kSpan = 1344, kMostGroup = 256;

int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t roundUp(int64_t a, int64_t b) { return ceilDiv(a, b) * b; }

// Fetches a block of rows into the second-level cache, a few lines at a time, while something else is computed.
struct Prefetcher {
  const char* row = nullptr;
  int64_t stride = 0, rows = 0, bytes = 0, at = 0;

  int64_t lines() const { return rows * ceilDiv(bytes, 64); }
  void fetch(int64_t lines) {
    for (; lines > 0 && rows > 0; --lines) {
      __builtin_prefetch(row + at, 0, 2);
      if ((at += 64) < bytes) continue;
      at = 0, --rows, row += stride;
    }
  }
};

// A, or B transposed: `extent` rows along the reduction, in panels of `width` rows, `panel` units from one to the next.
struct Operand {
  const char* data;
  int64_t bytes, ld, extent, width, panel;  // bytes: of an element
  bool inner;                               // whether the reduction is the contiguous dimension
  void (*pack)(const Operand&, unit* dst, int64_t first, int64_t end, int64_t k0, int64_t k);

  const char* at(int64_t row, int64_t k) const { return data + (inner ? row * ld + k : k * ld + row) * bytes; }
  Prefetcher block(int64_t first, int64_t count, int64_t k0, int64_t k) const {
    if (count <= 0 || k <= 0) return {};
    return {at(first, k0), ld * bytes, inner ? count : k, (inner ? k : count) * bytes};
  }
};

// Panels of rows `first` to `end`, elements [k0, k0 + k) of the reduction. Whole vectors may be read beyond `end`: a panel is narrower.
template <class U, class T>
void packPanels(const Operand& o, unit* dst, int64_t first, int64_t end, int64_t k0, int64_t k) {
  const auto source = [&](int64_t row) { return reinterpret_cast<const T*>(o.at(row, k0)); };
  if (!o.inner) return packOuter<U>(dst, o.panel, ceilDiv(end - first, o.width), o.width, source(first), o.ld, o.extent - first, k);
  for (int64_t i = first; i < end; i += o.width, dst += o.panel) packInner<U>(dst, o.width, source(i), o.ld, o.extent - i, k);
}

template <class U, class T>
Operand operandOf(const void* data, int64_t ld, int64_t extent, int64_t width, bool inner) {
  return {static_cast<const char*>(data), sizeof(T), ld, extent, width, 0, inner, packPanels<U, T>};
}

// In how many even parts of at most `most` to cut `count` things, so that every thread has as many.
int64_t evenParts(int64_t count, int64_t most, int64_t threads) { return std::min(count, roundUp(ceilDiv(count, most), threads)); }

// Where tiles are grouped decides who computes a sum, not how: results do not depend on the number of threads.
struct Plan {
  int64_t kBlocks, kElements;   // how many k blocks, elements of the reduction in each (the last may have fewer)
  int64_t block, span, group;   // rows: of the shared operand packed at a time, of those in an item; at most of the other operand in an item
  int64_t groups, ownTiles;     // of the other operand

  Plan(int64_t k, int64_t perUnit, const Operand& shared, const Operand& own, int64_t threads) {
    const int64_t units = std::max<int64_t>(1, ceilDiv(k, perUnit));
    const int64_t kUnits = roundUp(ceilDiv(units, ceilDiv(units, kBlockK)), kLanes);
    kBlocks = ceilDiv(units, kUnits);
    kElements = kUnits * perUnit;
    const int64_t blocks = ceilDiv(shared.extent, std::max(32 * shared.width, kSharedUnits / units));
    block = roundUp(ceilDiv(shared.extent, blocks), shared.width);
    span = roundUp(ceilDiv(block, ceilDiv(block, kSpan)), shared.width);
    const int64_t most = std::clamp<int64_t>(std::min(kGroupUnits / kUnits, kMostGroup) / own.width, 1, kMostGroup);
    const int64_t least = own.inner ? 1 : 4;  // narrow strips of long rows are slow to read
    constexpr int64_t kFewItems = 16;         // a small output is cut finer, so that there is work for every thread
    ownTiles = ceilDiv(own.extent, own.width);
    const int64_t few = ceilDiv(ownTiles, ceilDiv(kFewItems, ceilDiv(block, span)));
    groups = evenParts(ownTiles, std::min(most, std::max(few, least)), threads);
    group = ceilDiv(ownTiles, groups) * own.width;
  }
  int64_t groupFirst(const Operand& own, int64_t i) const { return std::min(own.extent, i * ownTiles / groups * own.width); }
};

// y[kTileRows][kTileCols] = A panel * B panel + before + residual, the last two where they are not null. before is a tile as well.
template <class U, class Y>
[[gnu::noinline]] void tile(int64_t k, const unit* a, const unit* b, const float* before, const Y* residual, int64_t ldResidual, Y* y, int64_t ldy,
                            NextRows next) {
  vfloat acc[kTileRows][kTileVectors] = {};
  multiplyTile<U, (kTileCols * sizeof(Y) + 63) / 64>(k, a, b, next, acc);
  const auto each = [&](auto&& fn) [[gnu::always_inline]] {
#pragma GCC unroll 16
    for (int r = 0; r < kTileRows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < kTileVectors; ++v) fn(r, v * kLanes, acc[r][v]);
  };
  if (before) each([&](int r, int c, vfloat& sum) [[gnu::always_inline]] { sum += load(before + r * kTileCols + c); });
  if (residual) each([&](int r, int c, vfloat& sum) [[gnu::always_inline]] { sum += load(residual + r * ldResidual + c); });
  each([&](int r, int c, vfloat& sum) [[gnu::always_inline]] { store(y + r * ldy + c, sum); });
}

template <class U, class Y>
struct Packed {
  const MatmulParams& p;
  const Operand &shared, &own;
  const bool sharesA;
  const Plan plan;
  unit* const panels;  // of the shared operand: [k block][panel]
  const bool plain = !p.bias && !p.z && !p.activation;

  int64_t blockPanels() const { return plan.block / shared.width; }
  unit* panelAt(int64_t panel, int64_t kb) const { return panels + (kb * blockPanels() + panel) * shared.panel; }
  int64_t elements(int64_t kb) const { return std::min(plan.kElements, p.k - kb * plan.kElements); }
  int64_t productUnits() const { return plan.kBlocks > 1 ? plan.span * plan.group : kTileRows * kTileCols; }
  int64_t scratchUnits() const { return plan.group / own.width * own.panel + productUnits(); }

  // The outputs of shared rows block + first... times rows ownFirst... of the other operand; `scratch` holds a group and the products.
  void item(int64_t block, int64_t first, int64_t count, int64_t ownFirst, int64_t ownCount, unit* scratch) const {
    float* const products = reinterpret_cast<float*>(scratch + plan.group / own.width * own.panel);
    const int64_t sharedTiles = ceilDiv(count, shared.width), ownTiles = ceilDiv(ownCount, own.width);
    const int64_t sharedEnd = block + first + count, ownEnd = ownFirst + ownCount;
    const int64_t rowEnd = sharesA ? sharedEnd : ownEnd, colEnd = sharesA ? ownEnd : sharedEnd;
    for (int64_t kb = 0; kb < plan.kBlocks; ++kb) {
      const int64_t k0 = kb * plan.kElements, units = unitsOf<U>(elements(kb));
      own.pack(own, scratch, ownFirst, ownFirst + ownCount, k0, elements(kb));
      const bool last = kb + 1 == plan.kBlocks;
      Prefetcher next = last ? own.block(ownEnd, std::min(plan.group, own.extent - ownEnd), 0, elements(0))
                             : own.block(ownFirst, ownCount, k0 + plan.kElements, elements(kb + 1));
      const int64_t lines = ceilDiv(next.lines(), sharedTiles * ownTiles);
      for (int64_t s = 0; s < sharedTiles; ++s)
        for (int64_t o = 0; o < ownTiles; ++o) {
          const unit *sharedPanel = panelAt(first / shared.width + s, kb), *ownPanel = scratch + o * own.panel;
          const unit *a = sharesA ? sharedPanel : ownPanel, *b = sharesA ? ownPanel : sharedPanel;
          float* product = products + (plan.kBlocks > 1 ? (s * ownTiles + o) * kTileRows * kTileCols : 0);
          const float* before = kb > 0 ? product : nullptr;
          next.fetch(lines);
          if (!last) {
            const NextRows ahead = {reinterpret_cast<const char*>(product + kTileRows * kTileCols), kTileCols * sizeof(float)};
            tile<U, float>(units, a, b, before, nullptr, 0, product, kTileCols, ahead);
            continue;
          }
          const auto rowOf = [&](int64_t s, int64_t o) { return sharesA ? block + first + s * kTileRows : ownFirst + o * kTileRows; };
          const auto colOf = [&](int64_t s, int64_t o) { return sharesA ? ownFirst + o * kTileCols : block + first + s * kTileCols; };
          const int64_t nextS = o + 1 < ownTiles || s + 1 == sharedTiles ? s : s + 1, nextO = o + 1 < ownTiles ? o + 1 : 0;
          const NextRows ahead = rowsAt(rowOf(nextS, nextO), colOf(nextS, nextO));
          const int64_t row = rowOf(s, o), col = colOf(s, o), rows = std::min<int64_t>(kTileRows, rowEnd - row);
          const int64_t cols = std::min<int64_t>(kTileCols, colEnd - col);
          if (plain && rows == kTileRows && cols == kTileCols) {
            const Y* residual = p.residual ? static_cast<const Y*>(p.residual) + row * p.ldResidual + col : nullptr;
            tile<U, Y>(units, a, b, before, residual, p.ldResidual, static_cast<Y*>(p.y) + row * p.ldy + col, p.ldy, ahead);
            continue;
          }
          tile<U, float>(units, a, b, before, nullptr, 0, product, kTileCols, ahead);
          for (int64_t r = 0; r < rows; ++r) finishRow<Y>(p, row + r, col, product + r * kTileCols, cols);
        }
    }
  }

  // What a tile at (row, col) will wait for: the residual, or else y itself.
  NextRows rowsAt(int64_t row, int64_t col) const {
    const bool added = p.residual != nullptr;
    const int64_t ld = added ? p.ldResidual : p.ldy;
    return {reinterpret_cast<const char*>(static_cast<const Y*>(added ? p.residual : p.y) + row * ld + col), ld * int64_t(sizeof(Y))};
  }
};

template <class U, class Y>
Status matmulPacked(const MatmulParams& p, Context& c, Operand& a, Operand& b) {
  const bool sharesA = p.m <= p.n;
  Operand &shared = sharesA ? a : b, &own = sharesA ? b : a;
  const Plan plan(p.k, kUnit<U>, shared, own, c.pool.threads());
  for (Operand* o : {&a, &b}) o->panel = panelUnits(unitsOf<U>(plan.kElements), o->width);
  unit* panels = static_cast<unit*>(c.workspace.shared(size_t(plan.kBlocks * (plan.block / shared.width) * shared.panel) * sizeof(unit)));
  if (!panels) return Status::error(Code::outOfMemory, "matmul: no memory for packing; use smaller batches");
  std::atomic<bool> failed{false};
  const Packed<U, Y> packed{p, shared, own, sharesA, plan, panels};
  for (int64_t block = 0; block < shared.extent; block += plan.block) {
    const int64_t count = std::min(plan.block, shared.extent - block);
    constexpr int64_t kPackRows = 128;
    const int64_t panelCount = ceilDiv(count, shared.width), parts = evenParts(panelCount, ceilDiv(kPackRows, shared.width), c.pool.threads());
    c.pool.parallel(parts * plan.kBlocks, [&](int64_t item, int) {
      const int64_t part = item % parts, kb = item / parts, first = part * panelCount / parts, end = (part + 1) * panelCount / parts;
      shared.pack(shared, packed.panelAt(first, kb), block + first * shared.width, block + std::min(count, end * shared.width),
                  kb * plan.kElements, packed.elements(kb));
    });
    c.pool.parallel(ceilDiv(count, plan.span) * plan.groups, [&](int64_t item, int thread) {
      unit* scratch = static_cast<unit*>(c.workspace.local(thread, size_t(packed.scratchUnits()) * sizeof(unit)));
      if (!scratch) return failed.store(true);
      const int64_t first = item / plan.groups * plan.span, group = item % plan.groups, ownFirst = plan.groupFirst(own, group);
      packed.item(block, first, std::min(plan.span, count - first), ownFirst, plan.groupFirst(own, group + 1) - ownFirst, scratch);
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
    using U = Multiplied<A, B>;
    Operand rows = operandOf<U, A>(p.a, p.lda, p.m, kTileRows, !p.transposeA);
    Operand cols = operandOf<U, B>(p.b, p.ldb, p.n, kTileCols, p.transposeB);
    return forType(p.yDtype, [&](auto y) { return matmulPacked<U, decltype(y)>(p, c, rows, cols); });
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
