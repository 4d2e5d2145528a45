// The main loop of kernels that multiply bf16 matrices on tensor cores: a block's tile of a product, float32 sums in registers, operands
// through shared memory in stages that asynchronous copies fill while others are multiplied.
//
//   c[i][j] += sum over l < depth of a(i, l) b(j, l)          i < kM, j < kN; a has kM rows, b has kN rows, both along the same reduction
//
// Either operand may lie in memory with the reduction contiguous (kInner: a(i, l) = data[i * ld + l]) or with its rows contiguous
// (data[l * ld + i]); so x W^T, dy W and dy^T x are the same loop. Use:
//
//   using Shape = TileShape<128, 128, 32, 2, 2, 3>;             // block tile m x n x k, warps along m and n, stages
//   using Product = TileProduct<Shape, true, true>;             // x W^T
//   extern __shared__ __align__(128) unsigned char memory[];    // Product::kSharedBytes of dynamic shared memory
//   Product product;                                            // sums are zero; launch Shape::kThreads threads
//   product.add(sharedAddress(memory), {x, ldx, rows}, {w, ldw, cols}, depth);      // all threads; may be called again to add more
//   product.eachPair([&](int row, int col, float& x0, float& x1) { ... });          // (row, col) and (row, col + 1) of the tile
//
// `rows` and `cols` say how many rows exist from `data` on: what lies outside, or beyond `depth`, counts as zero and is not read. When add
// returns, the shared memory is free for other uses. data and ld * 2 must be multiples of 16 bytes. Fragments, layouts and copies can be used
// alone: attention keeps operands in registers.
//
// Shared memory is read and written without bank conflicts: the 16-byte chunks of a line change places by the line's number (TileLayout).
#pragma once
#include "mma.cuh"

namespace lantern::cuda {

template <int m, int n, int k, int warpsM, int warpsN, int stages>
struct TileShape {
  static constexpr int kM = m, kN = n, kK = k, kWarpsM = warpsM, kWarpsN = warpsN, kStages = stages;
  static constexpr int kThreads = warpsM * warpsN * kWarp;
};

// kRows rows times kDepth of the reduction in shared memory, in lines as they lie in global memory.
template <int kRows, int kDepth, bool kInnerReduction>
struct TileLayout {
  static constexpr bool kInner = kInnerReduction;
  static constexpr int kLines = kInner ? kRows : kDepth, kLine = kInner ? kDepth : kRows;
  static constexpr int kAdvance = kDepth;
  static constexpr int kLineBytes = kLine * 2, kChunks = kLine / 8, kBytes = kLines * kLineBytes;
  static_assert(kLineBytes >= 32 && (kLineBytes & (kLineBytes - 1)) == 0, "lines are powers of two of at least two chunks");

  // Chunk c of a line lies at place c ^ turn(line): any eight neighbouring lines' chunks c cover all banks.
  static LANTERN_DEVICE constexpr int turn(int line) {
    constexpr int linesPerBanks = kLineBytes < 128 ? 128 / kLineBytes : 1, places = kChunks < 8 ? kChunks : 8;
    return line / linesPerBanks % places;
  }
  static LANTERN_DEVICE constexpr uint32_t offset(int line, int chunk) { return uint32_t(line * kLineBytes + ((chunk ^ turn(line)) << 4)); }
};

// ---- from shared memory to registers ----
// Reads 16 rows by 16 of the reduction as multiplyAdd takes them: as its a; or as two b's, {r[0], r[2]} for the first eight rows and
// {r[1], r[3]} for the others. Tiles are shared addresses, multiples of 128.
template <class Layout>
class FragmentReader {
 public:
  explicit LANTERN_DEVICE FragmentReader(int firstRow) {  // a power of two times a small number of rows: what this warp starts at
    const int lane = threadIdx.x % kWarp;
    const int row = Layout::kInner ? lane % 16 : lane / 8 % 2 * 8, depth = Layout::kInner ? lane / 16 * 8 : lane % 8 + lane / 16 * 8;
    lane_ = Layout::kInner ? Layout::offset(firstRow + row, depth / 8) : Layout::offset(depth, (firstRow + row) / 8);
  }
  // `row`, from firstRow on, and `depth` are multiples of 16; firstRow is a multiple of the rows that are read from it.
  LANTERN_DEVICE void load(uint32_t (&r)[4], uint32_t tile, int row, int depth) const {
    const int line = Layout::kInner ? row : depth, chunk = (Layout::kInner ? depth : row) / 8;
    const uint32_t address = tile + line * Layout::kLineBytes + (lane_ ^ uint32_t(chunk << 4));
    if constexpr (Layout::kInner) loadMatrices(r, address);
    else loadMatricesTransposed(r, address);
  }

 private:
  uint32_t lane_;
};

// ---- from global to shared memory ----
struct TileOperand {
  const bf16* data;  // row 0 of the tile, begin of the reduction
  int64_t ld;
  int rows;  // that exist
};

// Copies an operand tile by tile along the reduction; all kThreads threads take part, and commit and wait themselves.
template <class Layout, int kThreads>
class TileCopier {
  static constexpr int kStep = kThreads / Layout::kChunks;  // lines from one copy of a thread to the next
  static_assert(kThreads % Layout::kChunks == 0 && Layout::kLines % kStep == 0);
  static_assert(kStep % 8 == 0, "a thread's chunk keeps its place from line to line");
  static constexpr int kCopies = Layout::kLines / kStep;

 public:
  LANTERN_DEVICE TileCopier(const TileOperand& o, int depth) : ld_(o.ld) {
    line_ = int(threadIdx.x) / Layout::kChunks, element_ = int(threadIdx.x) % Layout::kChunks * 8;
    from_ = o.data + line_ * o.ld + element_;
    lines_ = (Layout::kInner ? o.rows : depth) - line_;
    width_ = (Layout::kInner ? depth : o.rows) - element_;
  }

  LANTERN_DEVICE void copyNext(uint32_t tile) {
    const uint32_t to = tile + Layout::offset(line_, element_ / 8);
    const int bytes = width_ >= 8 ? 16 : width_ > 0 ? width_ * 2 : 0;
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const bool inside = i * kStep < lines_ && bytes > 0;
      copyAsyncPart(to + i * kStep * Layout::kLineBytes, inside ? from_ + i * kStep * ld_ : from_ - line_ * ld_ - element_, inside ? bytes : 0);
    }
    from_ += Layout::kInner ? int64_t(Layout::kAdvance) : Layout::kAdvance * ld_;
    (Layout::kInner ? width_ : lines_) -= Layout::kAdvance;
  }

 private:
  const bf16* from_;
  int64_t ld_;
  int line_, element_;   // of this thread's first copy
  int lines_, width_;    // that exist from there on
};

// ---- the loop ----
template <class Shape, bool kInnerA, bool kInnerB>
class TileProduct {
 public:
  using LayoutA = TileLayout<Shape::kM, Shape::kK, kInnerA>;
  using LayoutB = TileLayout<Shape::kN, Shape::kK, kInnerB>;
  static constexpr int kWarpM = Shape::kM / Shape::kWarpsM, kWarpN = Shape::kN / Shape::kWarpsN;  // rows and columns of a warp
  static constexpr int kRowTiles = kWarpM / 16, kColTiles = kWarpN / 8, kSteps = Shape::kK / 16;
  static constexpr int kStageBytes = LayoutA::kBytes + LayoutB::kBytes, kSharedBytes = Shape::kStages * kStageBytes;
  static_assert(kWarpM % 16 == 0 && kWarpN % 16 == 0 && kSteps % 2 == 0 && Shape::kStages >= 2);

  float sums[kRowTiles][kColTiles][4] = {};  // as multiplyAdd leaves them

  static LANTERN_DEVICE int warpRow() { return int(threadIdx.x) / kWarp % Shape::kWarpsM * kWarpM; }
  static LANTERN_DEVICE int warpCol() { return int(threadIdx.x) / kWarp / Shape::kWarpsM * kWarpN; }

  LANTERN_DEVICE void add(uint32_t shared, const TileOperand& a, const TileOperand& b, int depth) {
    TileCopier<LayoutA, Shape::kThreads> copierA(a, depth);
    TileCopier<LayoutB, Shape::kThreads> copierB(b, depth);
    const FragmentReader<LayoutA> readerA(warpRow());
    const FragmentReader<LayoutB> readerB(warpCol());
    const int tiles = (depth + Shape::kK - 1) / Shape::kK;
    int copied = 0;
    const auto copyNext = [&](uint32_t stage) {
      if (copied++ < tiles) copierA.copyNext(stage), copierB.copyNext(stage + LayoutA::kBytes);
      commitCopies();
    };
    const auto next = [&](uint32_t stage) {
      return stage + kStageBytes == shared + kSharedBytes ? shared : stage + kStageBytes;
    };
#pragma unroll
    for (int s = 0; s + 1 < Shape::kStages; ++s) copyNext(shared + s * kStageBytes);
    uint32_t reading = shared, writing = shared + (Shape::kStages - 1) * kStageBytes;
    waitCopies<Shape::kStages - 2>();
    __syncthreads();
    Fragments held[2];  // of this step, and of the next one while this one is multiplied
    if (tiles > 0) load(held[0], readerA, readerB, reading, 0);
#pragma unroll 1
    for (int tile = 0; tile < tiles; ++tile) {
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        if (step + 1 < kSteps) {
          load(held[(step + 1) % 2], readerA, readerB, reading, (step + 1) * 16);
        } else {  // every warp has read the whole stage, and the next one is there
          waitCopies<Shape::kStages - 2>();
          __syncthreads();
          reading = next(reading);
          if (tile + 1 < tiles) load(held[(step + 1) % 2], readerA, readerB, reading, 0);
        }
        if (step == 0) copyNext(writing), writing = next(writing);
        multiply(held[step % 2]);
      }
    }
    waitCopies<0>();
    __syncthreads();
  }

  template <class F>
  LANTERN_DEVICE void eachPair(F&& fn) {
    const int row = warpRow() + int(threadIdx.x) % kWarp / 4, col = warpCol() + int(threadIdx.x) % 4 * 2;
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int j = 0; j < kColTiles; ++j) fn(row + i * 16 + half * 8, col + j * 8, sums[i][j][half * 2], sums[i][j][half * 2 + 1]);
  }

 private:
  struct Fragments {
    uint32_t a[kRowTiles][4], b[kColTiles / 2][4];
  };
  static LANTERN_DEVICE void load(Fragments& f, const FragmentReader<LayoutA>& readerA, const FragmentReader<LayoutB>& readerB, uint32_t stage,
                                  int depth) {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) readerA.load(f.a[i], stage, i * 16, depth);
#pragma unroll
    for (int j = 0; j < kColTiles / 2; ++j) readerB.load(f.b[j], stage + LayoutA::kBytes, j * 16, depth);
  }
  LANTERN_DEVICE void multiply(const Fragments& f) {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i)
#pragma unroll
      for (int j = 0; j < kColTiles; ++j) multiplyAdd(sums[i][j], f.a[i], f.b[j / 2][j % 2], f.b[j / 2][2 + j % 2]);
  }
};

}  // namespace lantern::cuda
