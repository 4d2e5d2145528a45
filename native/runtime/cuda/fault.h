// What a CUDA kernel found wrong with its data. A kernel cannot fail as a function does: it leaves the first fault here, skips what the
// fault makes impossible, and the next fence turns it into an error. Shared by device code, launchers and the runtime.
#pragma once
#include <cstdint>

namespace lantern::cuda {

enum class FaultKind : int32_t {
  none = 0,
  index,          // a: the value, b: its position, limit: values are in [0, limit)
  emptySequence,  // a: the sequence
  logits,         // b: the row: NaN, +infinity or nothing but -infinity
};

struct Fault {
  int32_t taken;    // 0 until the first fault
  FaultKind kind;
  int64_t a, b, limit;
  char what[64];    // op and noun, as in "embedding: id"
};

}  // namespace lantern::cuda
