// cp.async: copies are announced, and land at the wait that demands them, not before. A kernel that waits for one too few computes garbage
// and is reported: until the wait, the bytes belong to the copy.
#include <algorithm>
#include <cstring>

#include "access.h"
#include "lanes.h"

namespace lantern::simt {

namespace {

void land(Warp& w, const AsyncCopy& c, int lane) {
  uint8_t* to = &w.cta->shared[c.to[lane]];
  if (c.bytes[lane]) {
    // A partial copy reads only the bytes it names, one by one.
    const uint32_t step = c.bytes[lane] == c.size ? c.size : 1;
    for (uint32_t at = 0; at < c.bytes[lane]; at += step)
      std::memcpy(to + at, globalPlace(w, *c.insn, c.from[lane] + at, step, lane, Access::read), step);
  }
  std::memset(to + c.bytes[lane], 0, size_t(c.size) - c.bytes[lane]);
  orderLanded(w, w.cta->sharedShadow, c.to[lane], c.size, lane);
}
// Lands the copies of the active lanes for which f(lane's open group - the copy's group) holds.
template <class F>
void landWhere(Warp& w, F f) {
  auto& pending = w.copies.pending;
  for (AsyncCopy& c : pending)
    for (int l = 0; l < kLanes; ++l)
      if ((w.active & c.lanes) >> l & 1 && f(w.copies.group[l] - c.group[l])) {
        land(w, c, l);
        c.lanes &= ~(Mask(1) << l);
      }
  std::erase_if(pending, [](const AsyncCopy& c) { return c.lanes == 0; });
}

// [to], [from], size{, source size}
void copy(Warp& w, const Insn& i) {
  AsyncCopy c{};
  c.lanes = w.active;
  c.size = i.elementBytes;
  c.insn = &i;
  const auto* sourceBytes = i.flag ? w.reg<uint32_t>(i.operand[2]) : nullptr;
  const auto* from = w.reg<uint64_t>(i.operand[1]);
  uint64_t to[kLanes] = {};
  Mask reading = 0;
  for (int l = 0; l < kLanes; ++l) {
    if (!(w.active >> l & 1)) continue;
    to[l] = (i.address32 ? w.reg<uint32_t>(i.operand[0])[l] : w.reg<uint64_t>(i.operand[0])[l]) + uint64_t(i.immediate);
    if (sourceBytes && sourceBytes[l] > c.size) fail(Result::illegalInstruction, "cp.async reads more bytes than it writes", w, i, l);
    c.bytes[l] = uint8_t(sourceBytes ? sourceBytes[l] : c.size);
    c.from[l] = from[l] + uint64_t(int64_t(int32_t(i.target)));
    c.to[l] = uint32_t(to[l]);
    c.group[l] = w.copies.group[l];
    if (c.from[l] % c.size) fail(Result::misalignedAddress, "cp.async from an address that is no multiple of its size", w, i, l);
    if (c.bytes[l]) {
      reading |= Mask(1) << l;
      if (c.bytes[l] == c.size) globalPlace(w, i, c.from[l], c.size, l, Access::read);
    }
    sharedPlace(w, i, to[l], c.size, l, Access::asyncWrite);
  }
  countSectors(w, i, c.from, reading, c.size, false);
  countWavefronts(w, i, to, w.active, c.size);
  w.copies.pending.push_back(c);
}
void commit(Warp& w, const Insn&) {
  for (int l = 0; l < kLanes; ++l)
    if (w.active >> l & 1) ++w.copies.group[l];
}
void waitGroup(Warp& w, const Insn& i) {  // all but the newest `immediate` committed groups
  landWhere(w, [newest = uint32_t(i.immediate)](uint32_t age) { return age > newest; });
}
void waitAll(Warp& w, const Insn&) {
  landWhere(w, [](uint32_t) { return true; });
}

void decode(Decoder& d) {
  Insn& i = d.insn();
  if (!d.take("async")) d.refuse();
  i.kind = InstructionClass::memory;
  if (d.take("commit_group")) return void(i.run = commit);
  if (d.take("wait_all")) return void(i.run = waitAll);
  if (d.take("wait_group")) {
    if (d.operand(0).kind != ptx::Operand::Kind::immediate) d.refuse();
    i.immediate = int64_t(d.operand(0).value);
    return void(i.run = waitGroup);
  }
  const bool past = d.take("cg");
  if ((!past && !d.take("ca")) || !(d.take("shared") || d.take("shared::cta")) || !d.take("global")) d.refuse();
  for (const char* hint : {"L2::64B", "L2::128B", "L2::256B"}) d.take(hint);
  d.address(d.operand(1), 1);
  if (i.address32) d.refuse();
  i.target = uint32_t(i.immediate);  // the source's offset; the destination's is the immediate
  if (int64_t(int32_t(i.target)) != i.immediate) d.refuse();
  d.address(d.operand(0), 0);
  const ptx::Operand& size = d.operand(2);
  if (size.kind != ptx::Operand::Kind::immediate || (size.value != 16 && (past || (size.value != 4 && size.value != 8)))) d.refuse();
  i.elementBytes = uint8_t(size.value);
  i.flag = d.operands().size() > 3;
  if (i.flag) d.use(2, d.operand(3), 4);
  if (d.operands().size() > 4) d.refuse();
  i.run = copy;
}

}  // namespace

void asyncOpcodes(OpcodeTable& t) { t["cp"] = decode; }

}  // namespace lantern::simt
