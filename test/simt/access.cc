// Loads and stores of a warp: bounds, alignment, initialisation; races and counters are in cells.cc and count.cc.
#include "access.h"

#include "count.h"

namespace lantern::simt {

namespace {

const char* verb(Access access) { return access == Access::read ? "read" : access == Access::atomic ? "atomic access" : "write"; }

[[noreturn]] void misaligned(Warp& w, const Insn& insn, const char* space, uint64_t address, uint32_t bytes, int lane, Access access) {
  const std::string what = std::string(verb(access)) + " of " + std::to_string(bytes) + " bytes of " + space + " memory at " + std::to_string(address);
  fail(Result::misalignedAddress, what + ", which is no multiple of that", w, insn, lane);
}

[[noreturn]] void beyond(Warp& w, const Insn& insn, const Request& r, int lane, const char* what, const char* has, uint64_t size) {
  const std::string at = " at byte " + std::to_string(int64_t(r.at[lane]));
  fail(Result::illegalAddress, std::string(verb(r.access)) + " of " + what + at + has + std::to_string(size), w, insn, lane);
}

// The allocation that holds all that is asked for, or nullptr.
Allocation* allocationOf(Warp& w, const Insn& insn, const Request& r) {
  Allocation*& last = w.run->allocation[insn.index];
  if (last && last->holds(r.low, r.high)) return last;
  Allocation* a = w.run->memory.find(r.low);
  if (!a || !a->holds(r.low, r.high)) return nullptr;
  w.run->memory.touch(*a);
  if (w.run->order.on) a->shadow.cover(a->bytes);
  return last = a;
}

// ---- what was written ----

bool allSet(const Bits& bits, const Request& r) {
  constexpr uint64_t kNear = 2048;  // bytes, up to which looking at all that lies between is quicker
  if (r.high - r.low <= kNear) {
    if (bits.testRange(r.low, r.high - r.low)) return true;
    if (r.row) return false;
  }
  bool all = true;
  for (const uint64_t place : r.at) all &= bits.testAligned(place, r.bytes);
  return all;
}
// Reads find written bytes, writes leave them. what(lane): where a read found others, for the report.
template <class What>
void checkWritten(Warp& w, const Insn& insn, Bits& written, const Request& r, What what) {
  if (!r.reads() && r.row) return written.setRange(r.low, r.high - r.low);
  if (r.access == Access::read && !w.run->options.checkInitialised) return;
  if (allSet(written, r)) return;
  if (r.reads() && w.run->options.checkInitialised)
    eachLane(r.lanes, [&](int l) {
      if (!written.testAligned(r.at[l], r.bytes)) w.run->find(FindingKind::uninitialised, w, insn, l, [&] { return what(l); });
    });
  if (r.writes())
    for (const uint64_t place : r.at) written.setAligned(place, r.bytes);
}

}  // namespace

// ---- global memory ----

void globalPlaces(Warp& w, const Insn& insn, const Request& r, Places& places) {
  Allocation* a = allocationOf(w, insn, r);
  if (!a || !r.aligned) {  // several allocations, or a mistake of some lane
    places.row = false;
    uint8_t* some = nullptr;
    eachLane(r.lanes, [&](int l) { some = places.at[l] = globalPlace(w, insn, r.at[l], r.bytes, l, r.access); });
    eachLane(~r.lanes, [&](int l) { places.at[l] = some; });
    return;
  }
  const Request offsets = r.from(a->address);
  checkWritten(w, insn, a->written, offsets, [&](int l) {
    return "read of global memory that was never written, byte " + std::to_string(offsets.at[l]) + " of " +
           (a->label.empty() ? "an allocation" : "'" + a->label + "'");
  });
  countFootprint(w, *a, offsets);
  if (w.run->order.on) orderAccesses(w, insn, a->shadow, offsets, false);
  places.row = r.row;
  for (int l = 0; l < kLanes; ++l) places.at[l] = a->data.get() + offsets.at[l];
}

uint8_t* globalPlace(Warp& w, const Insn& insn, uint64_t address, uint32_t bytes, int lane, Access access) {
  const Request r(address, lane, bytes, access);
  if (!allocationOf(w, insn, r)) {
    const std::string what = std::string(verb(access)) + " of " + std::to_string(bytes) + " bytes of global memory ";
    fail(Result::illegalAddress, what + w.run->memory.describe(address), w, insn, lane);
  }
  if (!r.aligned) misaligned(w, insn, "global", address, bytes, lane, access);
  Places places;
  globalPlaces(w, insn, r, places);
  return places.at[lane];
}

// ---- shared memory ----

namespace {

void checkShared(Warp& w, const Insn& insn, const Request& r) {
  const Cta& cta = *w.cta;
  const uint64_t size = cta.shared.size();
  if (r.high <= size && r.aligned && (cta.usable.empty() || allSet(cta.usable, r))) return;
  eachLane(r.lanes, [&](int l) {
    const uint64_t offset = r.at[l];
    if (offset + r.bytes > size || offset > size) beyond(w, insn, r, l, "shared memory", ", the block has ", size);
    if (offset % r.bytes) misaligned(w, insn, "shared", offset, r.bytes, l, r.access);
    if (!cta.usable.empty() && !cta.usable.testAligned(offset, r.bytes))
      fail(Result::illegalAddress, std::string(verb(r.access)) + " of shared memory beyond the array it lies behind", w, insn, l);
  });
}

}  // namespace

void sharedPlaces(Warp& w, const Insn& insn, const Request& r, Places& places) {
  Cta& cta = *w.cta;
  checkShared(w, insn, r);
  checkWritten(w, insn, cta.written, r, [](int) { return std::string("read of shared memory that was never written"); });
  if (w.run->order.on) orderAccesses(w, insn, cta.sharedShadow, r, true);
  places.row = r.row;
  for (int l = 0; l < kLanes; ++l) places.at[l] = cta.shared.data() + r.at[l];
}

// ---- local memory and parameters ----

namespace {

void localPlaces(Warp& w, const Insn& insn, const Request& r, Places& places) {
  const uint64_t size = w.run->program.localBytes;
  const bool fits = r.high <= size && r.aligned;
  eachLane(fits ? 0 : r.lanes, [&](int l) {
    if (r.at[l] > size || r.at[l] + r.bytes > size) beyond(w, insn, r, l, "local memory", ", a thread has ", size);
    if (r.at[l] % r.bytes) misaligned(w, insn, "local", r.at[l], r.bytes, l, r.access);
  });
  for (uint64_t l = 0; l < kLanes; ++l) places.at[l] = &w.local[l * size + r.at[l]];
}
void paramPlaces(Warp& w, const Insn& insn, const Request& r, Places& places) {
  const auto params = w.run->launch.params;
  eachLane(r.lanes, [&](int l) {
    if (r.writes()) fail(Result::illegalAddress, "write of a kernel parameter", w, insn, l);
    if (r.at[l] > params.size() || r.at[l] + r.bytes > params.size()) beyond(w, insn, r, l, "kernel parameters", ", there are ", params.size());
    if (r.at[l] % r.bytes) misaligned(w, insn, "parameter", r.at[l], r.bytes, l, r.access);
  });
  for (int l = 0; l < kLanes; ++l) places.at[l] = const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(params.data())) + r.at[l];
}

// ---- any memory ----

Space spaceOf(uint64_t address) {
  if (address < kSharedWindow || address >= kWindowEnd) return Space::global;
  return address < kLocalWindow ? Space::shared : address < kParamWindow ? Space::local : Space::param;
}
uint64_t windowOf(Space space) {
  return space == Space::shared ? kSharedWindow : space == Space::local ? kLocalWindow : space == Space::param ? kParamWindow : 0;
}

void placesIn(Space space, Warp& w, const Insn& insn, const Request& r, Places& places) {
  switch (space) {
    case Space::global: return countSectors(w, insn, r), globalPlaces(w, insn, r, places);
    case Space::shared: return sharedPlaces(w, insn, r, places), countWavefronts(w, insn, r);
    case Space::local: return localPlaces(w, insn, r, places);
    case Space::param: return paramPlaces(w, insn, r, places);
    case Space::generic: break;
  }
  uint8_t* some = nullptr;
  for (Space s : {Space::global, Space::shared, Space::local, Space::param}) {
    Mask lanes = 0;
    eachLane(r.lanes, [&](int l) { lanes |= Mask(spaceOf(r.at[l]) == s) << l; });
    if (!lanes) continue;
    Places part;
    placesIn(s, w, insn, Request(r.at, lanes, r.bytes, r.access).from(windowOf(s)), part);
    if (lanes == r.lanes) return void(places = part);
    eachLane(lanes, [&](int l) { some = places.at[l] = part.at[l]; });
  }
  eachLane(~r.lanes, [&](int l) { places.at[l] = some; });
}

}  // namespace

void addressesOf(const Warp& w, const Insn& insn, int operand, uint64_t (&address)[kLanes]) {
  if (insn.address32) {
    const uint32_t* a = w.reg<uint32_t>(insn.operand[operand]);
    for (int l = 0; l < kLanes; ++l) address[l] = uint32_t(a[l] + uint32_t(insn.immediate));
  } else {
    const uint64_t* a = w.reg<uint64_t>(insn.operand[operand]);
    for (int l = 0; l < kLanes; ++l) address[l] = a[l] + uint64_t(insn.immediate);
  }
}

void resolve(Warp& w, const Insn& insn, Access access, Places& places) {
  uint64_t address[kLanes];
  addressesOf(w, insn, kAddressOperand, address);
  placesIn(insn.space, w, insn, Request(address, w.active, uint32_t(insn.elements) * insn.elementBytes, access), places);
}

}  // namespace lantern::simt
