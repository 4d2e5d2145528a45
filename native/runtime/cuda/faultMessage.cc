#include "faultMessage.h"

namespace lantern::cuda {

namespace {

std::string text(int64_t n) { return std::to_string(n); }

Status outside(std::string message) { return Status::error(Code::outOfRange, std::move(message)); }

}  // namespace

Status toStatus(const Fault& f) {
  if (!f.taken) return Status::fine();
  const std::string what = f.what;
  switch (f.kind) {
    case FaultKind::index:
      return outside(what + " " + text(f.a) + " at position " + text(f.b) + " is outside [0, " + text(f.limit) + ")");
    case FaultKind::emptySequence:
      return outside(what + ": sequence " + text(f.a) + " has no tokens; leave empty sequences out of the batch");
    case FaultKind::sequenceStart: return outside(what + ": cuSeqlens starts at " + text(f.a) + ", not at 0");
    case FaultKind::sequenceRange:
      return outside(what + ": sequence " + text(f.a) + " is [" + text(f.b >> 32) + ", " + text(int32_t(f.b)) + ") of " + text(f.limit) + " tokens");
    case FaultKind::position:
      return outside(what + ": position " + text(f.a) + " of token " + text(f.b) + " is outside the table of " + text(f.limit) +
                     " positions; build the table for a longer context");
    case FaultKind::previousId:
      return outside(what + ": row " + text(f.b) + " has the previous id " + text(f.a) + ", outside [0, " + text(f.limit) + ")");
    case FaultKind::seqlens:
      return outside(what + ": cuSeqlens must ascend from 0 to the number of tokens, " + text(f.limit) + "; it ends in " + text(f.a));
    case FaultKind::context:
      return outside(what + ": sequence " + text(f.a) + " has a context of " + text(f.b >> 32) + " tokens with " + text(int32_t(f.b)) +
                     " queries; it must hold the queries and fit " + text(f.limit) + " blocks");
    case FaultKind::cacheBlock:
      return outside(what + ": block " + text(f.a) + " of sequence " + text(f.b) + " is outside the cache of " + text(f.limit) + " blocks");
    case FaultKind::cacheSlot:
      return outside(what + ": slot " + text(f.a) + " of token " + text(f.b) + " is outside the cache of " + text(f.limit) + " slots");
    case FaultKind::logits: {
      const char* why = f.a == 0 ? " of the logits holds NaN or +infinity; check the weights and the input of the model"
                                 : " of the logits is -infinity everywhere; leave at least one token unmasked";
      return Status::error(Code::invalidArgument, what + ": row " + text(f.b) + why);
    }
    case FaultKind::rowLabel:
      return outside(what + ": label " + text(f.a) + " of row " + text(f.b) + " is not one of " + text(f.limit) +
                     " classes; check the labels, or use the ignore index for rows without one");
    case FaultKind::tokenLabel:
      return outside(what + ": label " + text(f.a) + " of token " + text(f.b) + " is not in a vocabulary of " + text(f.limit) +
                     "; check the tokenizer, or use the ignore index for tokens without a label");
    case FaultKind::none: break;
  }
  return Status::error(Code::device, what + ": a kernel reported a fault of an unknown kind");
}

}  // namespace lantern::cuda
