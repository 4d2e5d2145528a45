#include "attention.h"

#include <cmath>

#include "attentionPlan.h"
#include "attentionSoftmax.h"
#include "common/types.h"

namespace lantern::LANTERN_ISA {

namespace {

constexpr int64_t kKeys = 64;                       // keys per block: K and V of it stay in L1/L2 while the panels pass over them
constexpr int kPanels = kLanes == 16 ? 2 : 4;       // panels of queries per item
constexpr int64_t kQueries = kPanels * kMaxLanes;

// A thread's workspace in floats: keys, values, scores, panels.
int64_t workFloats(int64_t headDim) { return 2 * kKeys * headDim + kKeys * kMaxLanes + kPanels * QueryPanel::floats(headDim); }

template <class T>
class Forward {
 public:
  Forward(const AttentionParams& p, float* work) : p_(p) {
    keys_ = reinterpret_cast<unit*>(work);
    values_ = keys_ + kKeys * p.headDim;
    scores_ = work + 2 * kKeys * p.headDim;
    for (int i = 0; i < kPanels; ++i) panels_[i].place(scores_ + kKeys * kMaxLanes + i * QueryPanel::floats(p.headDim), p.headDim);
  }

  void run(const RowBlock& block, int64_t head) {
    const int64_t kvHead = head / (p_.heads / p_.kvHeads);
    const T* k = static_cast<const T*>(p_.k) + block.start * p_.kStride + kvHead * p_.headDim;
    const T* v = static_cast<const T*>(p_.v) + block.start * p_.vStride + kvHead * p_.headDim;
    const int count = int((block.count + kMaxLanes - 1) / kMaxLanes);
    int64_t low = block.length, high = 0;
    for (int i = 0; i < count; ++i) {
      open(panels_[i], block, i * kMaxLanes, head);
      low = std::min(low, panels_[i].span.minLow), high = std::max(high, panels_[i].span.maxHigh);
    }
    const float c = float(p_.scale) * kLog2e;
    for (int64_t base = low / kRowStep * kRowStep; base < high; base += kKeys) {
      const int64_t n = std::min(kKeys, high - base);
      fillRows<U, T>(keys_, n, p_.headDim, [&](int64_t i) { return k + (base + i) * p_.kStride; });
      fillColumns<U, T>(values_, n, p_.headDim, [&](int64_t i) { return v + (base + i) * p_.vStride; });
      for (int i = 0; i < count; ++i)
        forVectors(block.count - i * kMaxLanes, [&](auto vectors) {
          attendBlock<U, vectors>(panels_[i], keys_, values_, base, n, p_.headDim, c, scores_);
        });
    }
    for (int i = 0; i < count; ++i) close(panels_[i], block, i * kMaxLanes, head);
  }

 private:
  using U = UnitOf<T>;

  void open(QueryPanel& panel, const RowBlock& block, int64_t at, int64_t head) {
    const int64_t first = block.first + at, count = std::min<int64_t>(kMaxLanes, block.count - at);
    const T* rows[kMaxLanes] = {};
    for (int64_t i = 0; i < count; ++i)
      rows[i] = static_cast<const T*>(p_.q) + (block.start + first + i) * p_.qStride + head * p_.headDim;
    forVectors(count, [&](auto vectors) {
      fillPanel<U>(panel.q, rows, vectors, p_.headDim / kPerUnit<U>);
      panel.reset(vectors * kLanes, p_.headDim);
      windowSpan(panel.span, first, count, vectors * kLanes, block.length, p_.windowLeft, p_.windowRight);
    });
  }

  void close(QueryPanel& panel, const RowBlock& block, int64_t at, int64_t head) {
    const int64_t token = block.start + block.first + at, count = std::min<int64_t>(kMaxLanes, block.count - at);
    T* rows[kMaxLanes] = {};
    float inverse[kMaxLanes] = {};
    for (int64_t i = 0; i < count; ++i) {
      rows[i] = static_cast<T*>(p_.out) + ((token + i) * p_.heads + head) * p_.headDim;
      inverse[i] = 1.f / panel.total[i];
      if (p_.lse) p_.lse[head * p_.tokens + token + i] = panel.top[i] * float(p_.scale) + std::log(panel.total[i]);
    }
    forVectors(count, [&](auto vectors) { emptyPanel(rows, panel.out, vectors, p_.headDim, inverse); });
  }

  const AttentionParams& p_;
  unit *keys_, *values_;
  float* scores_;
  QueryPanel panels_[kPanels];
};

}  // namespace

Status attention(const AttentionParams& p, Context& c) {
  if (Status s = checkSeqlens("attention", p.cuSeqlens, p.sequences, p.tokens); !s.ok()) return s;
  Scratch scratch;
  const size_t local = size_t(workFloats(p.headDim)) * sizeof(float);
  if (!scratch.reserve(c, 0, p.tokens / kQueries + p.sequences, local))
    return Status::error(Code::outOfMemory, "attention: no memory for the blocks of the threads");
  const int64_t blocks = planBlocks(scratch.blocks, p.cuSeqlens, p.sequences, kQueries, p.windowLeft, p.windowRight);
  return forType(p.dtype, [&](auto type) {
    c.pool.parallel(blocks * p.heads, [&](int64_t item, int thread) {
      Forward<decltype(type)> work(p, static_cast<float*>(c.workspace.local(thread, local)));
      work.run(scratch.blocks[item / p.heads], item % p.heads);
    });
    return Status::fine();
  });
}

}  // namespace lantern::LANTERN_ISA
