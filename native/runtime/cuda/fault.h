// What a CUDA kernel found wrong with its data. A kernel cannot fail as a function does: it leaves the first fault here, skips what the
// fault makes impossible, and the next fence turns it into an error. Shared by device code, launchers and the runtime.
#pragma once
#include <cstdint>

namespace lantern::cuda {

enum class FaultKind : int32_t {
  none = 0,
  index,          // a: the value, b: its position, limit: values are in [0, limit)
  emptySequence,  // a: the sequence
  logits,         // b: the row; a: 0 it holds NaN or +infinity, 1 it is nothing but -infinity
  sequenceStart,  // a: where cuSeqlens starts, which is not 0
  sequenceRange,  // a: the sequence, b: its bounds, the first in the upper 32 bits; limit: the tokens
  position,       // a: the position, b: its token, limit: how many positions the table has
  previousId,     // a: the id, b: the row, limit: the columns
  seqlens,        // a: the end of cuSeqlens, limit: the tokens, to which it does not ascend from 0
  context,        // a: the sequence, b: its context, in the upper 32 bits, and its queries; limit: the blocks of its table
  cacheBlock,     // a: the block, b: the sequence, limit: the blocks of the cache
  cacheSlot,      // a: the slot, b: its token, limit: the slots of the cache
  rowLabel,       // a: the label, b: its row, limit: the classes
  tokenLabel,     // a: the label, b: its token, limit: the vocabulary
};

struct Fault {
  int32_t taken;    // 0 until the first fault
  FaultKind kind;
  int64_t a, b, limit;
  char what[64];    // op and noun, as in "embedding: id"
};

}  // namespace lantern::cuda
