#include "pagedAttention.h"

#include <string>

#include "attentionSoftmax.h"
#include "common/split.h"
#include "common/types.h"

namespace lantern::LANTERN_ISA {

namespace {

constexpr int64_t kKeys = 64;                  // keys per block
constexpr int64_t kPiece = 256;                // keys per piece of a long context
constexpr int kPanels = kLanes == 16 ? 2 : 4;  // panels of query rows per item
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
  if (tokenOf(p, 0) != 0 || tokenOf(p, p.sequences) != p.tokens) return fail("cuSeqlens must run from 0 to the number of query tokens");
  for (int64_t s = 0; s < p.sequences; ++s) {
    const int64_t queries = tokenOf(p, s + 1) - tokenOf(p, s), context = p.contextLens[s];
    const std::string name = "sequence " + std::to_string(s);
    if (queries < 0) return fail("cuSeqlens descends at " + name);
    if (context < queries || context > p.maxBlocks * p.blockSize)
      return fail(name + " has a context of " + std::to_string(context) + " tokens with " + std::to_string(queries) +
                  " queries; it must hold the queries and fit " + std::to_string(p.maxBlocks) + " blocks");
    for (int64_t b = 0; b < ceilDiv(context, p.blockSize) && queries > 0; ++b)
      if (const int32_t id = p.blockTables[s * p.maxBlocks + b]; id < 0 || id >= p.blocks)
        return fail("block " + std::to_string(id) + " of " + name + " is outside the cache of " + std::to_string(p.blocks) + " blocks");
  }
  return Status::fine();
}

// The items of the op; writes them where `items` is not null. Few rows over a long context are cut along the keys, many rows along the rows.
struct Plan {
  int64_t items = 0, parts = 0, partLanes = 0;

  Plan(const PagedAttentionParams& p, Item* out) {
    const int64_t group = p.heads / p.kvHeads;
    for (int64_t s = 0; s < p.sequences; ++s) {
      const int64_t token = tokenOf(p, s), queries = tokenOf(p, s + 1) - token, context = p.contextLens[s], rows = queries * group;
      if (rows == 0) continue;
      const int64_t low = p.windowLeft < 0 ? 0 : std::max<int64_t>(0, context - queries - p.windowLeft);
      const int64_t pieces = rows > kMaxLanes ? 1 : ceilDiv(context - low, kPiece);
      for (int64_t first = 0; first < rows; first += kItemRows)
        for (int64_t i = 0; i < pieces; ++i, ++items)
          if (out)
            out[items] = {s,   token, queries, context, first, std::min(kItemRows, rows - first), low + i * kPiece,
                          pieces == 1 ? context : std::min(context, low + (i + 1) * kPiece), parts + i, pieces};
      if (pieces > 1) parts += pieces, partLanes = std::max(partLanes, roundUp(rows, kLanes));
    }
  }
  int64_t partFloats(int64_t headDim) const { return (headDim + 2) * partLanes; }
};

template <class T, class C>
class Paged {
 public:
  static int64_t floats(int64_t headDim) { return 2 * kKeys * headDim + kKeys * kMaxLanes + kPanels * QueryPanel::floats(headDim); }
  Paged(const PagedAttentionParams& p, float* work) : p_(p) {
    keys_ = reinterpret_cast<unit*>(work), values_ = keys_ + kKeys * p.headDim;
    scores_ = work + 2 * kKeys * p.headDim;
    for (int i = 0; i < kPanels; ++i) panels_[i].place(scores_ + kKeys * kMaxLanes + i * QueryPanel::floats(p.headDim), p.headDim);
  }

  // Attends, and writes either the output or the partial sums.
  void run(const Item& item, int64_t kvHead, float* part) {
    const int count = int(ceilDiv(item.rows, kMaxLanes));
    int64_t low = item.high, high = item.low;
    for (int i = 0; i < count; ++i) {
      open(panels_[i], item, kvHead, item.first + i * kMaxLanes, rowsOf(item, i));
      low = std::min(low, panels_[i].span.minLow), high = std::max(high, panels_[i].span.maxHigh);
    }
    const float c = float(p_.scale) * kLog2e;
    for (int64_t base = low; base < high; base += kKeys) {
      const int64_t n = std::min(kKeys, high - base);
      int64_t slots[kKeys];
      locate(slots, item.sequence, base, n, kvHead);
      fillRows<U, C>(keys_, n, p_.headDim, [&](int64_t i) { return static_cast<const C*>(p_.kCache) + slots[i]; });
      fillColumns<U, C>(values_, n, p_.headDim, [&](int64_t i) { return static_cast<const C*>(p_.vCache) + slots[i]; });
      for (int i = 0; i < count; ++i)
        forVectors(rowsOf(item, i), [&](auto vectors) {
          attendBlock<U, vectors>(panels_[i], keys_, values_, base, n, p_.headDim, c, scores_);
        });
    }
    for (int i = 0; i < count; ++i)
      if (part) save(panels_[i], rowsOf(item, i), part);
      else close(panels_[i], item, kvHead, item.first + i * kMaxLanes, rowsOf(item, i));
  }

  // Merges the pieces of a sequence, in order, and writes the output.
  void merge(const Item& item, int64_t kvHead, const float* part, int64_t stride) {
    const int64_t lanes = roundUp(item.rows, kLanes), D = p_.headDim;
    const float c = float(p_.scale) * kLog2e;
    QueryPanel& sum = panels_[0];
    sum.reset(int(lanes), D);
    for (int64_t i = 0; i < item.parts; ++i, part += stride)
      for (int64_t l = 0; l < lanes; l += kLanes) {
        const vfloat before = load(sum.top + l), top = max(before, load(part + D * lanes + l));
        const vfloat old = exp2((before - top) * c), now = exp2((load(part + D * lanes + l) - top) * c);
        store(sum.top + l, top);
        store(sum.total + l, load(sum.total + l) * old + load(part + (D + 1) * lanes + l) * now);
        for (int64_t d = 0; d < D; ++d)
          store(sum.out + d * lanes + l, load(sum.out + d * lanes + l) * old + load(part + d * lanes + l) * now);
      }
    close(sum, item, kvHead, 0, item.rows);
  }

 private:
  using U = std::conditional_t<std::is_same_v<T, C>, UnitOf<C>, float>;

  static int64_t rowsOf(const Item& item, int panel) { return std::min<int64_t>(kMaxLanes, item.rows - panel * kMaxLanes); }
  int64_t group() const { return p_.heads / p_.kvHeads; }

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
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = first + i;
      rows[i] = static_cast<const T*>(p_.q) + (item.token + row / group()) * p_.qStride + (kvHead * group() + row % group()) * p_.headDim;
    }
    forVectors(count, [&](auto vectors) {
      constexpr int kWidth = decltype(vectors)::value * kLanes;
      fillPanel<U>(panel.q, rows, vectors, p_.headDim / kPerUnit<U>);
      panel.reset(kWidth, p_.headDim);
      for (int i = 0; i < kWidth; ++i) {
        const int64_t position = item.context - item.queries + (first + std::min<int64_t>(i, count - 1)) / group();
        const int64_t low = p_.windowLeft < 0 ? 0 : std::max<int64_t>(0, position - p_.windowLeft);
        panel.span.low[i] = int32_t(std::max(item.low, low));
        panel.span.high[i] = int32_t(std::min(item.high, position + 1));
      }
      panel.span.summarise(kWidth);
    });
  }

  void save(const QueryPanel& panel, int64_t rows, float* part) const {
    const int64_t lanes = roundUp(rows, kLanes), size = p_.headDim * lanes;
    std::copy_n(panel.out, size, part);
    std::copy_n(panel.top, lanes, part + size);
    std::copy_n(panel.total, lanes, part + size + lanes);
  }

  void close(const QueryPanel& panel, const Item& item, int64_t kvHead, int64_t first, int64_t count) const {
    T* rows[kMaxLanes] = {};
    float inverse[kMaxLanes] = {};
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = first + i, token = item.token + row / group();
      rows[i] = static_cast<T*>(p_.out) + (token * p_.heads + kvHead * group() + row % group()) * p_.headDim;
      inverse[i] = 1.f / panel.total[i];
    }
    forVectors(count, [&](auto vectors) { emptyPanel(rows, panel.out, vectors, p_.headDim, inverse); });
  }

  const PagedAttentionParams& p_;
  unit *keys_, *values_;
  float* scores_;
  QueryPanel panels_[kPanels];
};

}  // namespace

Status pagedAttention(const PagedAttentionParams& p, Context& c) {
  if (Status s = check(p); !s.ok()) return s;
  const Plan plan(p, nullptr);
  const int64_t stride = plan.partFloats(p.headDim);
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
        fn(work, items[i / p.kvHeads], i % p.kvHeads);
      });
    };
    each([&](auto& work, const Item& item, int64_t head) { work.run(item, head, item.parts > 1 ? partOf(item, head) : nullptr); });
    if (plan.parts > 0)
      each([&](auto& work, const Item& item, int64_t head) {
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
