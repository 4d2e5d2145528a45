#include "common/launch.h"
#include "distillHeadShape.h"

namespace lantern::cuda {

namespace {

// How the products with one model's weight run.
struct Side {
  bool mma;  // bfloat16 in rows of whole 16 bytes
  int64_t hiddenDtype, weightDtype, size;

  Side(int64_t hidden, int64_t weight, int64_t size, const void* data)
      : mma(hidden == kBfloat16 && weight == kBfloat16 && size % 8 == 0 && reinterpret_cast<uintptr_t>(data) % 16 == 0),
        hiddenDtype(hidden), weightDtype(weight), size(size) {}
  int64_t dtype() const { return mma ? kBfloat16 : kFloat32; }  // of the gathered hidden states, and of dlogits
  int64_t tileRows() const { return mma ? kMmaRows : kFloatRows; }
  unsigned threads() const { return mma ? kMmaThreads : kFloatThreads; }
  std::string product(const char* which) const {
    if (mma) return std::string("distillHeadMma_") + which;
    const std::string name = std::string("distillHeadFloat_") + which;
    return name == "distillHeadFloat_weightGradient" ? name : entryOf(name.c_str(), {weightDtype});
  }
};

class Head {
 public:
  Head(const DistillHeadParams& p, Context& c)
      : c_(c), t_(headTask(p, c.multiprocessors)), student_(p.hiddenDtype, p.weightDtype, p.hiddenSize, p.weight),
        teacher_(p.teacherHiddenDtype, p.teacherWeightDtype, p.teacherHiddenSize, p.teacherWeight) {}

  Status run() {
    LANTERN_TRY(allocate());
    LANTERN_TRY(c_.launch("distillHead_select", {1}, kSelectThreads, 0, t_, c_.fault()));
    LANTERN_TRY(c_.launch(entryOf("distillHead_clear", {t_.p.hiddenDtype}).c_str(), {unsigned(t_.p.tokens)}, kMoveThreads, 0, t_));
    for (int64_t first = 0; first < t_.p.tokens; first += t_.chunkRows) LANTERN_TRY(chunk(int(first)));
    return c_.launch("distillHead_total", {1}, kHeadTotalThreads, 0, t_);
  }

 private:
  template <class T>
  bool take(T*& pointer, int64_t bytes) {
    pointer = static_cast<T*>(c_.workspace(size_t(std::max<int64_t>(bytes, 16))));
    return pointer != nullptr;
  }

  Status allocate() {
    const int64_t rows = t_.chunkRows, plane = rows * t_.ld * 4, stats = rows * t_.tiles * int64_t(sizeof(TileStat));
    bool fits = take(t_.s, plane) && take(t_.x, rows * student_.size * 4) && take(t_.stats[kStudent], stats) && take(t_.count, 4) &&
                take(t_.rows, t_.p.tokens * 4) && take(t_.results, t_.p.tokens * int64_t(sizeof(HeadResult)));
    if (t_.teacher) fits = fits && take(t_.t, plane) && take(t_.xt, rows * teacher_.size * 4) && take(t_.stats[kTeacher], stats);
    if (t_.split) fits = fits && take(t_.stats[kLabels], stats);
    if (t_.p.dhidden) fits = fits && take(t_.partial, t_.slices * rows * t_.p.hiddenSize * 4);
    if (fits) return Status::fine();
    return Status::error(Code::outOfMemory,
                         "distillHead: no memory for the logits of one chunk of tokens; free some, or use a smaller batch elsewhere");
  }

  Status logits(const Side& side, int first, bool teacher) {
    const DistillHeadParams& p = t_.p;
    LANTERN_TRY(c_.launch(entryOf("distillHead_gather", {side.hiddenDtype, side.dtype()}).c_str(), {unsigned(t_.chunkRows)}, kMoveThreads, 0, t_,
                          first, teacher ? p.teacherHidden : p.hidden, side.size, teacher ? t_.xt : t_.x));
    const int rowTiles = int(ceilDiv(t_.chunkRows, side.tileRows()));
    return c_.launch(side.product("logits").c_str(), {unsigned(rowTiles * t_.tiles)}, side.threads(), side.mma ? size_t(kMmaShared) : 0, t_, first,
                     int(teacher), rowTiles);
  }

  Status chunk(int first) {
    const DistillHeadParams& p = t_.p;
    LANTERN_TRY(logits(student_, first, false));
    if (t_.teacher) LANTERN_TRY(logits(teacher_, first, true));
    LANTERN_TRY(c_.launch("distillHead_rows", {unsigned(t_.chunkRows)}, kHeadThreads, 0, t_, first, student_.mma));
    const int colTiles = int(ceilDiv(p.hiddenSize, kTileCols));
    const size_t shared = student_.mma ? kMmaShared : 0;
    const auto tiles = [&](int64_t rows) { return unsigned(ceilDiv(rows, student_.tileRows()) * colTiles); };
    if (p.dweight)
      LANTERN_TRY(c_.launch(student_.product("weightGradient").c_str(), {tiles(p.vocab)}, student_.threads(), shared, t_, first, colTiles));
    if (!p.dhidden) return Status::fine();
    LANTERN_TRY(c_.launch(student_.product("hiddenGradient").c_str(), {tiles(t_.chunkRows), unsigned(t_.slices)}, student_.threads(), shared, t_,
                          first, colTiles));
    return c_.launch(entryOf("distillHead_scatter", {p.hiddenDtype}).c_str(), {unsigned(t_.chunkRows)}, kMoveThreads, 0, t_, first);
  }

  Context& c_;
  HeadTask t_;
  Side student_, teacher_;
};

}  // namespace

Status distillHead(const DistillHeadParams& p, Context& c) {
  for (const int64_t dtype : {p.hiddenDtype, p.weightDtype, p.teacherHiddenDtype, p.teacherWeightDtype})
    if (dtype != kFloat32 && dtype != kBfloat16) return unknownDType();
  return Head(p, c).run();
}

}  // namespace lantern::cuda
