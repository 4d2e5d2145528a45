#include "pagedAttention.h"

#include <string>

#include "attentionPlan.h"
#include "common/split.h"
#include "common/types.h"
#include "pagedAttentionGroup.h"

namespace lantern::LANTERN_ISA {

namespace {

constexpr int64_t kKeys = kBlockKeys;
constexpr int64_t kFewRows = kMaxLanes < 16 ? kMaxLanes : 16;  // up to so many query rows, a long context is cut into pieces ...
constexpr int64_t kPiece = 256;                                // ... of so many keys
constexpr int kPanels = kLanes == 16 ? 2 : 4;                  // panels of query rows per item
constexpr int64_t kItemRows = kPanels * kMaxLanes;

// Query rows of one sequence and key head, numbered token * group + head of the group, against the keys [low, high).
struct Item {
  int64_t sequence, token;      // token: the sequence's first
  int64_t queries, context;     // of the sequence
  int64_t first, rows;          // rows first .. first + rows
  int64_t low, high;
  int64_t part, parts;          // this piece is number `part` of the op's partial sums; parts: pieces of this sequence (1: no merging)
};

int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t tokenOf(const PagedAttentionParams& p, int64_t s) { return p.cuSeqlens ? p.cuSeqlens[s] : s; }

Status check(const PagedAttentionParams& p) {
  const auto fail = [](std::string what) { return Status::error(Code::outOfRange, "pagedAttention: " + what); };
  if (p.cuSeqlens)
    if (Status s = checkSeqlens("pagedAttention", p.cuSeqlens, p.sequences, p.tokens); !s.ok()) return s;
  for (int64_t s = 0; s < p.sequences; ++s) {
    const int64_t queries = tokenOf(p, s + 1) - tokenOf(p, s), context = p.contextLens[s];
    const std::string name = "sequence " + std::to_string(s);
    if (context < queries || context > p.maxBlocks * p.blockSize)
      return fail(name + " has a context of " + std::to_string(context) + " tokens with " + std::to_string(queries) +
                  " queries; it must hold the queries and fit " + std::to_string(p.maxBlocks) + " blocks");
    for (int64_t b = 0; b < ceilDiv(context, p.blockSize) && queries > 0; ++b)
      if (const int32_t id = p.blockTables[s * p.maxBlocks + b]; id < 0 || id >= p.blocks)
        return fail("block " + std::to_string(id) + " of " + name + " is outside the cache of " + std::to_string(p.blocks) + " blocks");
  }
  return Status::fine();
}

// The items of the op, written where `out` is not null. Few rows over a long context are cut along the keys, many rows along the rows.
struct Plan {
  int64_t items = 0, parts = 0;

  Plan(const PagedAttentionParams& p, Item* out) {
    const int64_t group = p.heads / p.kvHeads;
    for (int64_t s = 0; s < p.sequences; ++s) {
      const int64_t token = tokenOf(p, s), queries = tokenOf(p, s + 1) - token, context = p.contextLens[s], rows = queries * group;
      if (rows == 0) continue;
      const int64_t low = p.windowLeft < 0 ? 0 : std::max<int64_t>(0, context - queries - p.windowLeft);
      const int64_t pieces = rows > kFewRows ? 1 : ceilDiv(context - low, kPiece);
      for (int64_t first = 0; first < rows; first += kItemRows)
        for (int64_t i = 0; i < pieces; ++i, ++items)
          if (out)
            out[items] = {s,   token, queries, context, first, std::min(kItemRows, rows - first), low + i * kPiece,
                          pieces == 1 ? context : std::min(context, low + (i + 1) * kPiece), parts + i, pieces};
      if (pieces > 1) parts += pieces;
    }
  }
};

template <class T, class C>
class Paged {
 public:
  static int64_t floats(int64_t headDim) {
    const int64_t panels = 2 * kKeys * headDim + kKeys * kMaxLanes + kPanels * QueryPanel::floats(headDim);
    return std::max(panels, rowFloats(headDim) + RowState::floats(kFewRows, headDim));
  }
  Paged(const PagedAttentionParams& p, float* work) : p_(p), work_(work) {
    keys_ = reinterpret_cast<unit*>(work), values_ = keys_ + kKeys * p.headDim;
    scores_ = work + 2 * kKeys * p.headDim;
    for (int i = 0; i < kPanels; ++i) panels_[i].place(scores_ + kKeys * kMaxLanes + i * QueryPanel::floats(p.headDim), p.headDim);
  }

  // Attends, and writes either the partial sums or the output: by dot products for very few rows, then as a group, else in panels. `later`,
  // null if there is none, is what the thread will probably run next, for key head laterHead.
  void run(const Item& item, int64_t kvHead, float* part, const Item* later, int64_t laterHead) {
    later_ = later, laterHead_ = laterHead;
    const int64_t rows = item.queries * group();
    if (rows <= kDotRows) runRows(item, kvHead, part);
    else if (rows <= kGroupRows) runGroup(item, kvHead, part);
    else runPanels(item, kvHead, part);
  }

  // Merges the pieces of a sequence, in order, and writes the output.
  void merge(const Item& item, int64_t kvHead, float* part, int64_t stride) {
    const RowState sum(work_ + rowFloats(p_.headDim), item.rows, p_.headDim);
    sum.reset(item.rows, p_.headDim);
    for (int64_t i = 0; i < item.parts; ++i, part += stride) {
      const RowState piece(part, item.rows, p_.headDim);
      for (int64_t r = 0; r < item.rows; ++r) {
        const float top = std::max(sum.top[r], piece.top[r]);
        const float before = exp2(splat(sum.top[r] - top))[0], now = exp2(splat(piece.top[r] - top))[0];
        sum.top[r] = top;
        sum.total[r] = sum.total[r] * before + piece.total[r] * now;
        float *to = sum.out + r * p_.headDim, *from = piece.out + r * p_.headDim;
        for (int64_t d = 0; d < p_.headDim; ++d) to[d] = to[d] * before + from[d] * now;
      }
    }
    closeRows(sum, item, kvHead);
  }

 private:
  using U = std::conditional_t<std::is_same_v<T, C>, UnitOf<C>, float>;

  static int64_t rowFloats(int64_t headDim) { return std::max(FewRows::floats(headDim), GroupedRows<U, C>::floats(headDim)); }

  using Bounds = const int64_t*;

  void runRows(const Item& item, int64_t kvHead, float* part) {
    FewRows few(work_, p_.headDim);
    for (int64_t r = 0; r < item.rows; ++r) few.query(r, queryRow(item, kvHead, r), float(p_.scale) * kLog2e);
    eachBlock(item, kvHead, part, [&](const RowState& state, const C** k, const C** v, int64_t n, Bounds low, Bounds high, auto& next) {
      next.fetchAll();
      few.attend(state, item.rows, k, v, n, low, high);
    });
  }

  void runGroup(const Item& item, int64_t kvHead, float* part) {
    GroupedRows<U, C> grouped(work_, p_.headDim, float(p_.scale) * kLog2e);
    for (int64_t r = 0; r < item.rows; ++r) grouped.query(r, queryRow(item, kvHead, r));
    eachBlock(item, kvHead, part, [&](const RowState& state, const C** k, const C** v, int64_t n, Bounds low, Bounds high, auto& next) {
      grouped.attend(state, item.rows, k, v, n, low, high, next);
    });
  }

  // attend(state, k, v, n, low, high, next) for the keys of an item, block by block; next are the rows of the block after it.
  template <class F>
  void eachBlock(const Item& item, int64_t kvHead, float* part, F&& attend) {
    const RowState state(part ? part : work_ + rowFloats(p_.headDim), item.rows, p_.headDim);
    state.reset(item.rows, p_.headDim);
    const C *keys = static_cast<const C*>(p_.kCache), *values = static_cast<const C*>(p_.vCache);
    int64_t low[kFewRows], high[kFewRows];  // keys each row sees, then relative to the block
    for (int64_t r = 0; r < item.rows; ++r) visible(item, r, low[r], high[r]);
    int64_t slots[2][kKeys];
    int64_t n = std::min(kKeys, item.high - item.low);
    locate(slots[0], item.sequence, item.low, n, kvHead);
    for (int64_t base = item.low, turn = 0; base < item.high; base += kKeys, turn ^= 1) {
      const int64_t after = std::clamp<int64_t>(item.high - base - kKeys, 0, kKeys);
      int64_t ahead = after;
      if (after > 0) locate(slots[turn ^ 1], item.sequence, base + kKeys, after, kvHead);
      else if (later_) {
        ahead = std::min(kKeys, later_->high - later_->low);
        locate(slots[turn ^ 1], later_->sequence, later_->low, ahead, laterHead_);
      }
      RowFetcher<C> next{keys, values, slots[turn ^ 1], ahead, p_.headDim};
      const C *k[kKeys], *v[kKeys];
      for (int64_t i = 0; i < n; ++i) k[i] = keys + slots[turn][i], v[i] = values + slots[turn][i];
      int64_t from[kFewRows], to[kFewRows];
      for (int64_t r = 0; r < item.rows; ++r) from[r] = low[r] - base, to[r] = high[r] - base;
      attend(state, k, v, n, from, to, next);
      n = after;
    }
    if (!part) closeRows(state, item, kvHead);
  }

  void runPanels(const Item& item, int64_t kvHead, float* part) {
    const int count = int(ceilDiv(item.rows, kMaxLanes));
    int64_t low = item.high, high = item.low;
    for (int i = 0; i < count; ++i) {
      open(panels_[i], item, kvHead, item.first + i * kMaxLanes, rowsOf(item, i));
      low = std::min(low, panels_[i].span.minLow), high = std::max(high, panels_[i].span.maxHigh);
    }
    const float c = float(p_.scale) * kLog2e;
    for (int64_t base = low; base < high; base += kKeys) {
      const int64_t n = std::min(kKeys, high - base);
      int64_t slots[kKeys], next[kKeys];
      locate(slots, item.sequence, base, n, kvHead);
      const int64_t after = std::clamp<int64_t>(high - base - n, 0, kKeys);  // their rows are asked for now and read a block later
      locate(next, item.sequence, base + n, after, kvHead);
      RowFetcher<C>{static_cast<const C*>(p_.kCache), static_cast<const C*>(p_.vCache), next, after, p_.headDim}.fetchAll();
      fillRows<U, C>(keys_, n, p_.headDim, [&](int64_t i) { return static_cast<const C*>(p_.kCache) + slots[i]; });
      fillColumns<U, C>(values_, n, p_.headDim, [&](int64_t i) { return static_cast<const C*>(p_.vCache) + slots[i]; });
      for (int i = 0; i < count; ++i)
        forVectors(rowsOf(item, i), [&](auto vectors) {
          attendBlock<U, vectors>(panels_[i], keys_, values_, base, n, p_.headDim, c, scores_);
        });
    }
    if (part) return save(panels_[0], item.rows, RowState(part, item.rows, p_.headDim));
    for (int i = 0; i < count; ++i) close(panels_[i], item, kvHead, item.first + i * kMaxLanes, rowsOf(item, i));
  }

  static int64_t rowsOf(const Item& item, int panel) { return std::min<int64_t>(kMaxLanes, item.rows - panel * kMaxLanes); }
  int64_t group() const { return p_.heads / p_.kvHeads; }
  int64_t rowOffset(int64_t kvHead, int64_t row) const { return (kvHead * group() + row % group()) * p_.headDim; }
  const T* queryRow(const Item& item, int64_t kvHead, int64_t row) const {
    return static_cast<const T*>(p_.q) + (item.token + row / group()) * p_.qStride + rowOffset(kvHead, row);
  }
  T* outRow(const Item& item, int64_t kvHead, int64_t row) const {
    return static_cast<T*>(p_.out) + (item.token + row / group()) * p_.heads * p_.headDim + rowOffset(kvHead, row);
  }
  void visible(const Item& item, int64_t row, int64_t& low, int64_t& high) const {
    const int64_t position = item.context - item.queries + row / group();
    low = std::max(item.low, p_.windowLeft < 0 ? 0 : position - p_.windowLeft);
    high = std::min(item.high, position + 1);
  }

  // Elements from the start of the cache to the rows of the positions base .. base + n.
  void locate(int64_t* slots, int64_t sequence, int64_t base, int64_t n, int64_t kvHead) const {
    const int32_t* table = p_.blockTables + sequence * p_.maxBlocks;
    int64_t block = base / p_.blockSize, at = base % p_.blockSize;
    for (int64_t i = 0; i < n; ++i) {
      slots[i] = ((table[block] * p_.blockSize + at) * p_.kvHeads + kvHead) * p_.headDim;
      if (++at == p_.blockSize) ++block, at = 0;
    }
  }

  void open(QueryPanel& panel, const Item& item, int64_t kvHead, int64_t first, int64_t count) {
    const T* rows[kMaxLanes] = {};
    for (int64_t i = 0; i < count; ++i) rows[i] = queryRow(item, kvHead, first + i);
    forVectors(count, [&](auto vectors) {
      constexpr int kWidth = decltype(vectors)::value * kLanes;
      fillPanel<U>(panel.q, rows, vectors, p_.headDim / kPerUnit<U>);
      panel.reset(kWidth, p_.headDim);
      for (int i = 0; i < kWidth; ++i) {
        int64_t low, high;
        visible(item, first + std::min<int64_t>(i, count - 1), low, high);
        panel.span.low[i] = int32_t(low), panel.span.high[i] = int32_t(high);
      }
      panel.span.summarise(kWidth);
    });
  }

  void save(const QueryPanel& panel, int64_t count, const RowState& state) const {
    float* rows[kMaxLanes] = {};
    float one[kMaxLanes];
    std::fill_n(one, kMaxLanes, 1.f);
    for (int64_t i = 0; i < count; ++i) {
      rows[i] = state.out + i * p_.headDim;
      state.top[i] = panel.top[i] * float(p_.scale) * kLog2e;
      state.total[i] = panel.total[i];
    }
    forVectors(count, [&](auto vectors) { emptyPanel(rows, panel.out, vectors, p_.headDim, one); });
  }

  void closeRows(const RowState& state, const Item& item, int64_t kvHead) const {
    for (int64_t r = 0; r < item.rows; ++r) {
      T* row = outRow(item, kvHead, r);
      const float* from = state.out + r * p_.headDim;
      for (int64_t d = 0; d < p_.headDim; d += kLanes)
        storePart(row + d, loadPart(from + d, p_.headDim - d) / state.total[r], p_.headDim - d);
    }
  }

  void close(const QueryPanel& panel, const Item& item, int64_t kvHead, int64_t first, int64_t count) const {
    T* rows[kMaxLanes] = {};
    float inverse[kMaxLanes] = {};
    for (int64_t i = 0; i < count; ++i) {
      rows[i] = outRow(item, kvHead, first + i);
      inverse[i] = 1.f / panel.total[i];
    }
    forVectors(count, [&](auto vectors) { emptyPanel(rows, panel.out, vectors, p_.headDim, inverse); });
  }

  const PagedAttentionParams& p_;
  float* work_;
  unit *keys_, *values_;
  float* scores_;
  QueryPanel panels_[kPanels];
  const Item* later_ = nullptr;
  int64_t laterHead_ = 0;
};

}  // namespace

Status pagedAttention(const PagedAttentionParams& p, Context& c) {
  if (Status s = check(p); !s.ok()) return s;
  const Plan plan(p, nullptr);
  const int64_t stride = RowState::floats(kFewRows, p.headDim);
  const size_t partBytes = size_t(plan.parts * p.kvHeads * stride + 15) / 16 * 64;
  const size_t local = size_t(Paged<float, float>::floats(p.headDim)) * sizeof(float);
  char* shared = static_cast<char*>(c.workspace.shared(partBytes + size_t(plan.items) * sizeof(Item)));
  bool memory = shared != nullptr;
  for (int t = 0; t < c.pool.threads(); ++t) memory = memory && c.workspace.local(t, local);
  if (!memory) return Status::error(Code::outOfMemory, "pagedAttention: no memory for the partial sums");
  float* parts = reinterpret_cast<float*>(shared);
  Item* items = reinterpret_cast<Item*>(shared + partBytes);
  const Plan filled(p, items);

  return forTypes(p.dtype, p.cacheDtype, [&](auto t, auto k) {
    const auto partOf = [&](const Item& item, int64_t kvHead) { return parts + (kvHead * plan.parts + item.part) * stride; };
    const auto each = [&](auto&& fn) {
      c.pool.parallel(filled.items * p.kvHeads, [&](int64_t i, int thread) {
        Paged<decltype(t), decltype(k)> work(p, static_cast<float*>(c.workspace.local(thread, local)));
        const int64_t later = i + c.pool.threads();
        const Item* laterItem = later / p.kvHeads < filled.items ? items + later / p.kvHeads : nullptr;
        fn(work, items[i / p.kvHeads], i % p.kvHeads, laterItem, later % p.kvHeads);
      });
    };
    each([&](auto& work, const Item& item, int64_t head, const Item* later, int64_t laterHead) {
      work.run(item, head, item.parts > 1 ? partOf(item, head) : nullptr, later, laterHead);
    });
    if (plan.parts > 0)
      each([&](auto& work, const Item& item, int64_t head, const Item*, int64_t) {
        const bool firstPiece = item.parts > 1 && (&item == items || (&item)[-1].sequence != item.sequence);
        if (firstPiece) work.merge(item, head, partOf(item, head), stride);
      });
    return Status::fine();
  });
}

Status cacheWrite(const CacheWriteParams& p, Context& c) {
  for (int64_t t = 0; t < p.tokens; ++t)
    if (p.slotMapping[t] < -1 || p.slotMapping[t] >= p.slots)
      return Status::error(Code::outOfRange, "cacheWrite: slot " + std::to_string(p.slotMapping[t]) + " of token " + std::to_string(t) +
                                                 " is outside the cache of " + std::to_string(p.slots) + " slots");
  return forTypes(p.dtype, p.cacheDtype, [&](auto from, auto to) {
    using T = decltype(from);
    using C = decltype(to);
    parallelRows(c.pool, p.tokens, 2 * p.cols, [&](int64_t t) {
      if (p.slotMapping[t] < 0) return;
      const T *k = static_cast<const T*>(p.k) + t * p.kStride, *v = static_cast<const T*>(p.v) + t * p.vStride;
      C *kTo = static_cast<C*>(p.kCache) + p.slotMapping[t] * p.cols, *vTo = static_cast<C*>(p.vCache) + p.slotMapping[t] * p.cols;
      for (int64_t i = 0; i < p.cols; i += kLanes) {
        storePart(kTo + i, loadPart(k + i, p.cols - i), p.cols - i);
        storePart(vTo + i, loadPart(v + i, p.cols - i), p.cols - i);
      }
    });
    return Status::fine();
  });
}

}  // namespace lantern::LANTERN_ISA
