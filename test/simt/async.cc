// cp.async: copies are announced, and land at the wait that demands them, not before. A kernel that waits for one too few computes garbage
// and is reported: until the wait, the bytes belong to the copy.
#include <algorithm>
#include <cstring>

#include "access.h"
#include "count.h"
#include "lanes.h"

namespace lantern::simt {

namespace {

// The copies of some lanes arrive. Global memory is read now, and must still be there.
void land(Warp& w, const AsyncCopy& c, Mask lanes) {
  Mask whole = 0;
  for (int l = 0; l < kLanes; ++l) whole |= Mask(c.bytes[l] == c.size) << l;
  uint64_t to[kLanes];
  std::copy(c.to, c.to + kLanes, to);
  uint8_t* shared = w.cta->shared.data();
  if (whole & lanes) {
    Places from;
    globalPlaces(w, *c.insn, Request(c.from, whole & lanes, c.size, Access::read), from);
    eachLane(whole & lanes, [&](int l) { std::memcpy(shared + to[l], from.at[l], c.size); });
  }
  eachLane(lanes & ~whole, [&](int l) {  // a partial copy reads only the bytes it names, one by one
    for (uint32_t at = 0; at < c.bytes[l]; ++at) shared[to[l] + at] = *globalPlace(w, *c.insn, c.from[l] + at, 1, l, Access::read);
    std::memset(shared + to[l] + c.bytes[l], 0, size_t(c.size) - c.bytes[l]);
  });
  if (w.run->order.on) orderLanded(w, w.cta->sharedShadow, Request(to, lanes, c.size, Access::asyncWrite));
}
// Lands the copies of the active lanes for which f(lane's open group - the copy's group) holds.
template <class F>
void landWhere(Warp& w, F f) {
  auto& pending = w.copies.pending;
  for (AsyncCopy& c : pending) {
    Mask due = 0;
    for (int l = 0; l < kLanes; ++l) due |= Mask(f(w.copies.group[l] - c.group[l])) << l;
    due &= w.active & c.lanes;
    if (due) land(w, c, due);
    c.lanes &= ~due;
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
  uint64_t to[kLanes];
  addressesOf(w, i, 0, to);
  Mask reading = 0, whole = 0;
  eachLane(w.active, [&](int l) {
    if (sourceBytes && sourceBytes[l] > c.size) fail(Result::illegalInstruction, "cp.async reads more bytes than it writes", w, i, l);
    c.bytes[l] = uint8_t(sourceBytes ? sourceBytes[l] : c.size);
    c.from[l] = from[l] + uint64_t(int64_t(int32_t(i.target)));
    c.to[l] = uint32_t(to[l]);
    c.group[l] = w.copies.group[l];
    if (c.from[l] % c.size) fail(Result::misalignedAddress, "cp.async from an address that is no multiple of its size", w, i, l);
    reading |= Mask(c.bytes[l] > 0) << l;
    whole |= Mask(c.bytes[l] == c.size) << l;
  });
  Places places;
  if (reading) countSectors(w, i, Request(c.from, reading, c.size, Access::read));
  if (whole) globalPlaces(w, i, Request(c.from, whole, c.size, Access::read), places);
  const Request into(to, w.active, c.size, Access::asyncWrite);
  sharedPlaces(w, i, into, places);
  countWavefronts(w, i, into);
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
