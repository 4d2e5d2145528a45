#include "embedding.h"

#include "common/launch.h"
#include "common/rowWalk.h"
#include "sortIds.h"

namespace lantern::cuda {

Status embedding(const EmbeddingParams& p, Context& c) {
  const std::string entry = entryOf("embedding_forward", {p.weightDtype, p.dtype});
  if (entry.empty()) return unknownDType();
  const RowWalk w = walkRows(p.tokens, p.hidden, {{p.weight, p.weightDtype, p.hidden}, {p.y, p.dtype, p.hidden}});
  return c.launch(entry.c_str(), {blocksOf(w)}, kWalkThreads, 0, p, w, c.fault());
}

Status embeddingBackward(const EmbeddingBackwardParams& p, Context& c) {
  const std::string entry = entryOf("embedding_backward", {p.dtype});
  if (entry.empty()) return unknownDType();
  SortedIds sorted;
  LANTERN_TRY(sortIds(p.ids, p.tokens, p.vocab, SortedBy::embeddingBackward, c, sorted));
  const RowWalk w = walkRows(p.tokens, p.hidden, {{p.dy, p.dtype, p.hidden}, {p.dweight, kFloat32, p.hidden}});
  return c.launch(entry.c_str(), {blocksOf(w)}, kWalkThreads, 0, p, w, sorted);
}

}  // namespace lantern::cuda
