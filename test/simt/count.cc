// Sectors, wavefronts, footprint. What is most frequent, all lanes side by side or all at one place, is counted by formula.
#include "count.h"

#include <array>
#include <cstddef>
#include <cstring>

namespace lantern::simt {

namespace {

struct Sectors {
  uint64_t touched, ideal;
};
Sectors sectorsOf(const Request& r) {
  if (r.uniform()) return {1, 1};
  if (r.row) {
    const uint64_t touched = (r.high - 1) / kSector - r.low / kSector + 1;
    return {touched, std::min<uint64_t>(touched, r.bytes)};  // 32 lanes of that many bytes
  }
  uint64_t sectors[kLanes], last = ~uint64_t(0), lastPlace = ~uint64_t(0);
  uint32_t n = 0, distinct = 0;
  bool sorted = true;
  eachLane(r.lanes, [&](int l) {
    if (r.at[l] != lastPlace) ++distinct, lastPlace = r.at[l];
    const uint64_t sector = r.at[l] / kSector;
    if (sector == last) return;
    sorted &= n == 0 || sector > last;
    sectors[n++] = last = sector;
  });
  if (!sorted) {
    std::sort(sectors, sectors + n);
    n = uint32_t(std::unique(sectors, sectors + n) - sectors);
  }
  return {n, std::min<uint64_t>(n, (uint64_t(distinct) * r.bytes + kSector - 1) / kSector)};
}

// How the lanes of one access lie to each other, and what comes of it. Where the whole lies turns the banks, no more.
struct Pattern {
  uint32_t apart[kLanes];  // from the first lane, in units
  Mask lanes;
  uint32_t banks;          // units that are served together, and lanes
  uint32_t wavefronts, ideal;
  bool sameAs(const Pattern& p) const { return std::memcmp(this, &p, offsetof(Pattern, wavefronts)) == 0; }
};

// Passes that the lanes of one group need: the most units asked of one bank. A unit is served to all its lanes at once.
uint32_t passes(const Pattern& p, Mask lanes) {
  uint32_t taken = 0;
  eachLane(lanes, [&](int l) { taken |= 1u << (p.apart[l] & (p.banks - 1)); });
  if (std::popcount(taken) == std::popcount(lanes)) return 1;
  uint8_t asked[kLanes] = {};
  uint32_t most = 0;
  eachLane(lanes, [&](int l) {
    Mask same = 0;
    for (int k = 0; k < kLanes; ++k) same |= Mask(p.apart[k] == p.apart[l]) << k;
    if (std::countr_zero(same & lanes) == l) most = std::max<uint32_t>(most, ++asked[p.apart[l] & (p.banks - 1)]);
  });
  return most;
}
void countPasses(Pattern& p) {
  p.wavefronts = p.ideal = 0;
  const Mask group = p.banks == 32 ? kAllLanes : (1u << p.banks) - 1;
  for (uint32_t first = 0; first < kLanes; first += p.banks)
    if (const Mask lanes = p.lanes & group << first) p.wavefronts += passes(p, lanes), ++p.ideal;
}

void setSectors(Bits& sectors, const Request& r) {
  const uint64_t first = r.low / kSector, last = (r.high - 1) / kSector;
  if (r.row || first == last) return sectors.setRange(first, last - first + 1);
  for (const uint64_t place : r.at)
    if (!sectors.test(place / kSector)) sectors.set(place / kSector);
}

}  // namespace

void countSectors(Warp& w, const Insn& insn, const Request& r) {
  if (!w.run->options.count) return;
  const Sectors s = sectorsOf(r);
  Counters& c = w.run->counters[insn.index];
  c.sectors += s.touched;
  c.idealSectors += s.ideal;
  (r.writes() ? c.bytesWritten : c.bytesRead) += uint64_t(std::popcount(r.lanes)) * r.bytes;
}

void countWavefronts(Warp& w, const Insn& insn, const Request& r) {
  if (!w.run->options.count) return;
  Counters& c = w.run->counters[insn.index];
  const uint32_t unitBytes = std::max(r.bytes, 4u), banks = 128 / unitBytes;
  if (r.row) {
    c.wavefronts += kLanes / banks, c.idealWavefronts += kLanes / banks;
    return;
  }
  Pattern p;
  const int shift = std::countr_zero(unitBytes);
  const uint64_t first = r.at[0] >> shift;
  for (int l = 0; l < kLanes; ++l) p.apart[l] = uint32_t((r.at[l] >> shift) - first);
  p.lanes = r.lanes, p.banks = banks;
  static std::array<Pattern, 1024> known;  // the latest, by instruction
  Pattern& before = known[(insn.index * 4 + p.apart[1] % 4) % known.size()];
  if (!before.sameAs(p)) countPasses(p), before = p;
  c.wavefronts += before.wavefronts, c.idealWavefronts += before.ideal;
}

void countFootprint(Warp& w, Allocation& a, const Request& r) {
  if (!w.run->options.count) return;
  if (r.reads()) setSectors(a.readSectors, r);
  if (r.writes()) setSectors(a.writtenSectors, r);
}

}  // namespace lantern::simt
