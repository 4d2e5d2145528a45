#include "embedding.h"

#include "common/gather.h"
#include "common/types.h"

namespace lantern::LANTERN_ISA {

namespace {

constexpr int64_t kColumns = 64;  // four cache lines of dweight: threads share none
constexpr int64_t kAhead = 4;     // tokens; the rows of the table are far apart, so the processor cannot foresee them

template <class T>
void addColumns(const EmbeddingBackwardParams& p, int64_t begin, int64_t end) {
  const T* dy = static_cast<const T*>(p.dy);
  for (int64_t i = 0; i < p.tokens; ++i) {
    if (i + kAhead < p.tokens) {
      const float* next = p.dweight + int64_t(p.ids[i + kAhead]) * p.hidden + begin;
      for (int64_t k = 0; k < end - begin; k += 16) __builtin_prefetch(next + k, 1);
    }
    const T* from = dy + i * p.hidden;
    float* to = p.dweight + int64_t(p.ids[i]) * p.hidden;
    eachVector(begin, end, [&](int64_t k, auto n) { storePart(to + k, loadPart(to + k, n) + loadPart(from + k, n), n); });
  }
}

}  // namespace

Status embedding(const EmbeddingParams& p, Context& c) {
  if (Status s = checkIndices("embedding", "id", p.ids, p.tokens, p.vocab); !s.ok()) return s;
  return forTypes(p.dtype, p.weightDtype, [&](auto t, auto w) {
    gather(c.pool, static_cast<const decltype(w)*>(p.weight), p.ids, static_cast<decltype(t)*>(p.y), p.tokens, p.hidden);
    return Status::fine();
  });
}

Status embeddingBackward(const EmbeddingBackwardParams& p, Context& c) {
  if (Status s = checkIndices("embeddingBackward", "id", p.ids, p.tokens, p.vocab); !s.ok()) return s;
  return forType(p.dtype, [&](auto t) {
    parallelColumns(c.pool, 1, p.hidden, kColumns, [&](int64_t, int64_t begin, int64_t end) { addColumns<decltype(t)>(p, begin, end); });
    return Status::fine();
  });
}

}  // namespace lantern::LANTERN_ISA
