// Loads and stores of a warp: bounds, alignment, initialisation, races; sectors, wavefronts, footprint.
#include "access.h"

#include <algorithm>
#include <cstring>

namespace lantern::simt {

namespace {

const char* verb(Access access) { return access == Access::read ? "read" : access == Access::atomic ? "atomic access" : "write"; }

[[noreturn]] void misaligned(Warp& w, const Insn& insn, const char* space, uint64_t address, uint32_t bytes, int lane, Access access) {
  fail(Result::misalignedAddress, std::string(verb(access)) + " of " + std::to_string(bytes) + " bytes of " + space + " memory at " + std::to_string(address) +
                                      ", which is no multiple of that", w, insn, lane);
}

Allocation& allocationOf(Warp& w, const Insn& insn, uint64_t address, uint32_t bytes, int lane, Access access) {
  Allocation*& last = w.run->allocation[insn.index];
  if (last && last->holds(address, address + bytes)) return *last;
  Allocation* a = w.run->memory.find(address);
  if (!a || !a->holds(address, address + bytes))
    fail(Result::illegalAddress, std::string(verb(access)) + " of " + std::to_string(bytes) + " bytes of global memory " + w.run->memory.describe(address), w,
         insn, lane);
  w.run->memory.touch(*a);
  if (w.run->order.on) a->shadow.cover(a->bytes);
  return *(last = a);
}

void checkWritten(Warp& w, const Insn& insn, Allocation& a, uint64_t offset, uint32_t bytes, int lane, Access access) {
  if (access == Access::read || access == Access::atomic) {
    if (w.run->options.checkInitialised && !a.written.testAligned(offset, bytes))
      w.run->find(FindingKind::uninitialised, w, insn, lane, [&] {
        return "read of global memory that was never written, byte " + std::to_string(offset) + " of " + (a.label.empty() ? "an allocation" : "'" + a.label + "'");
      });
  }
  if (access != Access::read) a.written.setAligned(offset, bytes);
}

// ---- counters ----

void countFootprint(Warp& w, Allocation& a, uint64_t offset, uint32_t bytes, Access access) {
  if (!w.run->options.count) return;
  (void)bytes;  // aligned and at most 16: never across a sector
  if (access == Access::read || access == Access::atomic) a.readSectors.set(offset / kSector);
  if (access != Access::read) a.writtenSectors.set(offset / kSector);
}

}  // namespace

void countSectors(Warp& w, const Insn& insn, const uint64_t (&address)[kLanes], Mask lanes, uint32_t bytes, bool writes) {
  if (!w.run->options.count || !lanes) return;
  uint64_t sectors[kLanes], last = ~uint64_t(0), lastAddress = ~uint64_t(0);
  uint32_t n = 0, distinct = 0;
  bool sorted = true;
  for (int l = 0; l < kLanes; ++l) {
    if (!(lanes >> l & 1)) continue;
    if (address[l] != lastAddress) ++distinct, lastAddress = address[l];
    const uint64_t sector = address[l] / kSector;
    if (sector == last) continue;
    sorted &= n == 0 || sector > last;
    sectors[n++] = last = sector;
  }
  if (!sorted) {
    std::sort(sectors, sectors + n);
    n = uint32_t(std::unique(sectors, sectors + n) - sectors);
  }
  Counters& c = w.run->counters[insn.index];
  c.sectors += n;
  c.idealSectors += std::min<uint64_t>(n, (uint64_t(distinct) * bytes + kSector - 1) / kSector);
  (writes ? c.bytesWritten : c.bytesRead) += uint64_t(std::popcount(lanes)) * bytes;
}

void countWavefronts(Warp& w, const Insn& insn, const uint64_t (&offset)[kLanes], Mask lanes, uint32_t bytes) {
  if (!w.run->options.count) return;
  const int group = bytes <= 4 ? 32 : bytes == 8 ? 16 : 8;  // lanes that are served together
  const uint32_t words = (bytes + 3) / 4;
  Counters& c = w.run->counters[insn.index];
  for (int first = 0; first < kLanes; first += group) {
    uint32_t word[32][8], used[32] = {};  // words asked of each bank; a word is served to all its lanes at once
    uint32_t most = 0;
    for (int l = first; l < first + group; ++l) {
      if (!(lanes >> l & 1)) continue;
      for (uint32_t x = uint32_t(offset[l] / 4), end = x + words; x < end; ++x) {
        const uint32_t bank = x % 32, n = std::min(used[bank], 8u);
        if (std::find(word[bank], word[bank] + n, x) != word[bank] + n) continue;
        word[bank][used[bank] % 8] = x;
        most = std::max(most, ++used[bank]);
      }
    }
    c.wavefronts += most;
    c.idealWavefronts += most > 0;
  }
}

// ---- one lane ----

uint8_t* globalPlace(Warp& w, const Insn& insn, uint64_t address, uint32_t bytes, int lane, Access access) {
  Allocation& a = allocationOf(w, insn, address, bytes, lane, access);
  if (address % bytes) misaligned(w, insn, "global", address, bytes, lane, access);
  const uint64_t offset = address - a.address;
  checkWritten(w, insn, a, offset, bytes, lane, access);
  countFootprint(w, a, offset, bytes, access);
  if (w.run->order.on) orderAccess(w, insn, a.shadow, offset, bytes, lane, access, false);
  return &a.data[offset];
}

uint8_t* sharedPlace(Warp& w, const Insn& insn, uint64_t offset, uint32_t bytes, int lane, Access access) {
  Cta& cta = *w.cta;
  if (offset + bytes > cta.shared.size() || offset > cta.shared.size())
    fail(Result::illegalAddress, std::string(verb(access)) + " of shared memory at byte " + std::to_string(int64_t(offset)) + ", the block has " +
                                     std::to_string(cta.shared.size()), w, insn, lane);
  if (offset % bytes) misaligned(w, insn, "shared", offset, bytes, lane, access);
  uint8_t* state = &cta.sharedState[offset];
  uint8_t all = 0xff, any = 0;
  for (uint32_t i = 0; i < bytes; ++i) all &= state[i], any |= state[i];
  if (any & kGap) fail(Result::illegalAddress, std::string(verb(access)) + " of shared memory beyond the array it lies behind", w, insn, lane);
  if (access == Access::read || access == Access::atomic) {
    if (!all && w.run->options.checkInitialised) 
      w.run->find(FindingKind::uninitialised, w, insn, lane, [] { return "read of shared memory that was never written"; });
  }
  if (access != Access::read) std::memset(state, kWritten, bytes);
  if (w.run->order.on) orderAccess(w, insn, cta.sharedShadow, offset, bytes, lane, access, true);
  return &cta.shared[offset];
}

// ---- a warp ----

namespace {

void resolveGlobal(Warp& w, const Insn& insn, const uint64_t (&address)[kLanes], Mask lanes, uint32_t bytes, Access access, Places& places) {
  countSectors(w, insn, address, lanes, bytes, access != Access::read);
  for (int l = 0; l < kLanes; ++l)
    if (lanes >> l & 1) places.at[l] = globalPlace(w, insn, address[l], bytes, l, access);
}
void resolveShared(Warp& w, const Insn& insn, const uint64_t (&offset)[kLanes], Mask lanes, uint32_t bytes, Access access, Places& places) {
  countWavefronts(w, insn, offset, lanes, bytes);
  for (int l = 0; l < kLanes; ++l)
    if (lanes >> l & 1) places.at[l] = sharedPlace(w, insn, offset[l], bytes, l, access);
}
void resolveLocal(Warp& w, const Insn& insn, const uint64_t (&offset)[kLanes], Mask lanes, uint32_t bytes, Access access, Places& places) {
  const uint64_t size = w.run->program.localBytes;
  for (int l = 0; l < kLanes; ++l) {
    if (!(lanes >> l & 1)) continue;
    if (offset[l] > size || offset[l] + bytes > size)
      fail(Result::illegalAddress, std::string(verb(access)) + " of local memory at byte " + std::to_string(int64_t(offset[l])) + ", a thread has " + std::to_string(size),
           w, insn, l);
    if (offset[l] % bytes) misaligned(w, insn, "local", offset[l], bytes, l, access);
    places.at[l] = &w.local[uint64_t(l) * size + offset[l]];
  }
}
void resolveParam(Warp& w, const Insn& insn, const uint64_t (&offset)[kLanes], Mask lanes, uint32_t bytes, Access access, Places& places) {
  const auto params = w.run->launch.params;
  for (int l = 0; l < kLanes; ++l) {
    if (!(lanes >> l & 1)) continue;
    if (access != Access::read) fail(Result::illegalAddress, "write of a kernel parameter", w, insn, l);
    if (offset[l] > params.size() || offset[l] + bytes > params.size())
      fail(Result::illegalAddress, "read of kernel parameters at byte " + std::to_string(int64_t(offset[l])) + ", there are " + std::to_string(params.size()), w, insn, l);
    if (offset[l] % bytes) misaligned(w, insn, "parameter", offset[l], bytes, l, access);
    places.at[l] = const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(params.data())) + offset[l];
  }
}

Space spaceOf(uint64_t address) {
  if (address < kSharedWindow || address >= kWindowEnd) return Space::global;
  return address < kLocalWindow ? Space::shared : address < kParamWindow ? Space::local : Space::param;
}
uint64_t windowOf(Space space) {
  return space == Space::shared ? kSharedWindow : space == Space::local ? kLocalWindow : space == Space::param ? kParamWindow : 0;
}

void resolveIn(Space space, Warp& w, const Insn& insn, const uint64_t (&address)[kLanes], Mask lanes, uint32_t bytes, Access access, Places& places) {
  switch (space) {
    case Space::global: return resolveGlobal(w, insn, address, lanes, bytes, access, places);
    case Space::shared: return resolveShared(w, insn, address, lanes, bytes, access, places);
    case Space::local: return resolveLocal(w, insn, address, lanes, bytes, access, places);
    case Space::param: return resolveParam(w, insn, address, lanes, bytes, access, places);
    case Space::generic: break;
  }
  for (Space s : {Space::global, Space::shared, Space::local, Space::param}) {
    uint64_t inWindow[kLanes] = {};
    Mask some = 0;
    for (int l = 0; l < kLanes; ++l) {
      if (!(lanes >> l & 1) || spaceOf(address[l]) != s) continue;
      some |= Mask(1) << l;
      inWindow[l] = address[l] - windowOf(s);
    }
    if (some) resolveIn(s, w, insn, inWindow, some, bytes, access, places);
  }
}

}  // namespace

void resolve(Warp& w, const Insn& insn, Access access, Places& places) {
  uint64_t address[kLanes];
  if (insn.address32) {
    const uint32_t* a = w.reg<uint32_t>(insn.operand[kAddressOperand]);
    for (int l = 0; l < kLanes; ++l) address[l] = uint32_t(a[l] + uint32_t(insn.immediate));
  } else {
    const uint64_t* a = w.reg<uint64_t>(insn.operand[kAddressOperand]);
    for (int l = 0; l < kLanes; ++l) address[l] = a[l] + uint64_t(insn.immediate);
  }
  resolveIn(insn.space, w, insn, address, w.active, uint32_t(insn.elements) * insn.elementBytes, access, places);
}

}  // namespace lantern::simt
