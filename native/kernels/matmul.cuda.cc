// Which kernel a matrix product runs on, in which tiles, and in how many parts: all functions of its shape, its alignment and the device.
#include "matmul.h"

#include <algorithm>
#include <cmath>

#include "common/launch.h"
#include "common/rowWalk.h"
#include "matmulShape.h"

namespace lantern::cuda {

namespace {

int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t roundUp(int64_t a, int64_t b) { return ceilDiv(a, b) * b; }

// Whether rows of `width` neighbouring elements can be accessed at once, from p on and from any row.
bool aligned(const void* p, int64_t dtype, int64_t ld, int64_t width) {
  return reinterpret_cast<uintptr_t>(p) % uintptr_t(width * bytesOf(dtype)) == 0 && ld % width == 0;
}

bool finishesPacks(const MatmulParams& p) {
  return aligned(p.y, p.yDtype, p.ldy, 4) && aligned(p.z, p.yDtype, p.ldy, 4) && aligned(p.bias, p.biasDtype, 0, 4) &&
         (!p.residual || aligned(p.residual, p.yDtype, p.ldResidual, 4));
}

// What the choice of a tile weighs. `rate`: multiply-adds of a multiprocessor in a cycle when it has enough blocks to overlap their waits.
struct Candidate {
  const char* name;
  int m, n, k, threads, sharedBytes;
  double rate;
};
constexpr Candidate candidate(const char* name, const MatmulTile& t, double rate) { return {name, t.m, t.n, t.k, t.threads(), t.sharedBytes(), rate}; }
constexpr Candidate candidate(const char* name, const FloatTile& t, double rate) { return {name, t.m, t.n, t.k, t.threads(), 0, rate}; }

constexpr Candidate kTensorTiles[] = {candidate("large", kLargeTile, 1000), candidate("medium", kMediumTile, 850), candidate("small", kSmallTile, 650)};
constexpr Candidate kFloatTiles[] = {candidate("large", kLargeFloatTile, 64), candidate("small", kSmallFloatTile, 48)};

struct Plan {
  const Candidate* tile = nullptr;
  int64_t parts = 1;
  double cycles = 0;
};

// An estimate of cycles, good enough to compare. The multiprocessor with the most blocks decides. A block costs some reduction more than its own
// (filling the stages, the epilogue), one block alone leaves half of its multiprocessor's time unused, and parts are written, read and launched.
double cyclesOf(const Candidate& t, const MatmulParams& p, int64_t parts, int multiprocessors) {
  constexpr double kBlockOverhead = 128, kAlone = .5, kLaunch = 3000, kBytesPerCycle = 12;
  const double blocks = double(ceilDiv(p.m, t.m) * ceilDiv(p.n, t.n) * parts), most = std::ceil(blocks / multiprocessors);
  const double depth = double(roundUp(ceilDiv(p.k, parts), t.k)), rate = most < 2 ? kAlone * t.rate : t.rate;
  const double product = most * t.m * t.n * (depth + kBlockOverhead) / rate;
  return parts == 1 ? product : product + kLaunch + double(parts * p.m * p.n) * 8 / (kBytesPerCycle * multiprocessors);
}

template <size_t count>
Plan choose(const Candidate (&tiles)[count], const MatmulParams& p, int multiprocessors) {
  constexpr int64_t kMostParts = 32, kLeastDepth = 128;  // of a part: less is not worth a launch
  constexpr int64_t kMostSums = 16 << 20;                // of all parts in workspace
  const auto allowed = [&](int64_t parts) { return parts == 1 || (p.k >= parts * kLeastDepth && parts * p.m * p.n <= kMostSums); };
  Plan best;
  for (const Candidate& tile : tiles)
    for (int64_t parts = 1; parts <= kMostParts && allowed(parts); ++parts) {
      const double cycles = cyclesOf(tile, p, parts, multiprocessors);
      if (!best.tile || cycles < best.cycles) best = {&tile, parts, cycles};
    }
  return best;
}

Status launchTiles(const std::string& entry, MatmulTask t, const Plan& plan, Context& c) {
  const MatmulParams& p = t.p;
  const Candidate& tile = *plan.tile;
  t.rowTiles = int32_t(ceilDiv(p.m, tile.m)), t.colTiles = int32_t(ceilDiv(p.n, tile.n));
  t.part = std::max<int64_t>(tile.k, roundUp(ceilDiv(p.k, plan.parts), tile.k));
  const int64_t parts = std::max<int64_t>(1, ceilDiv(p.k, t.part));  // rounding may leave fewer
  if (parts > 1) {
    t.ldPartial = roundUp(p.n, 4);
    t.partial = static_cast<float*>(c.workspace(size_t(parts * p.m * t.ldPartial) * sizeof(float)));
    if (!t.partial) return noWorkspace("matmul");
  }
  const Dim grid{unsigned(t.rowTiles) * unsigned(t.colTiles), unsigned(parts)};
  LANTERN_TRY(c.launch(entry.c_str(), grid, unsigned(tile.threads), size_t(tile.sharedBytes), t));
  if (parts == 1) return Status::fine();
  const Dim sums{unsigned(ceilDiv(p.n, 4 * kSumPartsLanes)), unsigned(ceilDiv(p.m, kSumPartsRows))};
  return c.launch("matmul_sumParts", sums, kSumPartsLanes * kSumPartsRows, 0, t, int(parts));
}

// More rows of W in a block read x less often, fewer make more blocks: as many rows as leave every multiprocessor a few blocks.
Status launchFewRows(const MatmulTask& t, Context& c) {
  const MatmulParams& p = t.p;
  int cols = 8;
  std::string entry;
  if (p.aDtype == kBfloat16 && p.bDtype == kBfloat16) {
    const bool rows8 = p.m <= 8;
    cols = 32;
    while (cols > (rows8 ? 8 : 16) && ceilDiv(p.n, cols) < 4 * c.multiprocessors) cols /= 2;
    entry = std::string("matmulFewRows_bf16Rows") + (rows8 ? "8" : "16") + "Cols" + std::to_string(cols);
  } else {
    entry = entryOf(p.m == 1 ? "matmulFewRows_rows1" : p.m <= 4 ? "matmulFewRows_rows4" : "matmulFewRows_rows16", {p.aDtype, p.bDtype});
  }
  return c.launch(entry.c_str(), {unsigned(ceilDiv(p.n, cols))}, kFewRowsWarps * 32, 0, t);
}

}  // namespace

Status matmul(const MatmulParams& p, Context& c) {
  for (const int64_t dtype : {p.aDtype, p.bDtype, p.yDtype, p.bias ? p.biasDtype : p.yDtype})
    if (dtype != kFloat32 && dtype != kBfloat16) return unknownDType();
  if (p.m == 0 || p.n == 0) return Status::fine();
  MatmulTask task{};
  task.p = p, task.packs = finishesPacks(p);
  const bool bothBf16 = p.aDtype == kBfloat16 && p.bDtype == kBfloat16;
  const int64_t width = bothBf16 ? 8 : 4;
  const bool packs = aligned(p.a, p.aDtype, p.lda, width) && aligned(p.b, p.bDtype, p.ldb, width);
  if (!p.transposeA && p.transposeB && p.m <= kFewRows && p.k > 0 && packs) return launchFewRows(task, c);
  if (!bothBf16 || !packs || (p.transposeA && p.transposeB)) {  // both transposed: in no layer
    const Plan plan = choose(kFloatTiles, p, c.multiprocessors);
    return launchTiles(std::string("matmulFloat_") + plan.tile->name, task, plan, c);
  }
  const Plan plan = choose(kTensorTiles, p, c.multiprocessors);
  return launchTiles(std::string("matmul_") + plan.tile->name + (p.transposeA ? "TransposeA" : p.transposeB ? "TransposeB" : ""), task, plan, c);
}

Status activationBackward(const ActivationBackwardParams& p, Context& c) {
  const std::string entry = entryOf("matmulBackward_activation", {p.dtype});
  if (entry.empty()) return unknownDType();
  const RowWalk w = walkRows(1, p.count, {{p.dy, p.dtype, 0}, {p.z, p.dtype, 0}, {p.dz, p.dtype, 0}});
  return c.launch(entry.c_str(), {blocksOf(w)}, kWalkThreads, 0, p, w);
}

Status columnSum(const ColumnSumParams& p, Context& c) {
  const int64_t wide = 16 / bytesOf(p.dtype);
  const bool packs = aligned(p.x, p.dtype, p.ldx, wide);
  const std::string entry = entryOf(packs ? "matmulBackward_columnSum" : "matmulBackward_columnSumUnaligned", {p.dtype});
  if (entry.empty()) return unknownDType();
  if (p.rows == 0 || p.cols == 0) return Status::fine();
  constexpr unsigned kThreads = kColumnSumWarps * 32;
  const int64_t strips = ceilDiv(p.cols, 32 * (packs ? wide : 1));
  const int64_t wanted = std::clamp<int64_t>(ceilDiv(4 * c.multiprocessors, strips), 1, ceilDiv(p.rows, kColumnSumLeastRows));
  const int64_t rows = ceilDiv(p.rows, wanted), parts = ceilDiv(p.rows, rows);
  float* partial = nullptr;
  if (parts > 1) {
    partial = static_cast<float*>(c.workspace(size_t(parts * p.cols) * sizeof(float)));
    if (!partial) return noWorkspace("columnSum");
  }
  LANTERN_TRY(c.launch(entry.c_str(), {unsigned(strips), unsigned(parts)}, kThreads, 0, p, rows, partial));
  if (parts == 1) return Status::fine();
  return c.launch("matmulBackward_columnSumParts", {unsigned(ceilDiv(p.cols, kThreads))}, kThreads, 0, p, int(parts), partial);
}

}  // namespace lantern::cuda
