// Sectors, wavefronts, footprint. What is most frequent, all lanes side by side or all at one place, is counted by formula.
#include "count.h"

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

// Passes that the lanes of one group need: the most places asked of one bank, or of the banks that one access takes together. A place is
// served to all its lanes at once.
uint32_t passes(const uint64_t (&unit)[kLanes], uint32_t banks, Mask lanes) {
  uint32_t taken = 0;
  eachLane(lanes, [&](int l) { taken |= 1u << (unit[l] % banks); });
  if (std::popcount(taken) == std::popcount(lanes)) return 1;
  uint8_t asked[kLanes] = {};
  uint32_t most = 0;
  eachLane(lanes, [&](int l) {
    Mask same = 0;
    for (int k = 0; k < kLanes; ++k) same |= Mask(unit[k] == unit[l]) << k;
    if (std::countr_zero(same & lanes) == l) most = std::max<uint32_t>(most, ++asked[unit[l] % banks]);
  });
  return most;
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
  const uint32_t unitBytes = std::max(r.bytes, 4u), banks = 128 / unitBytes;  // lanes that are served together, too
  Counters& c = w.run->counters[insn.index];
  if (r.row) {
    c.wavefronts += kLanes / banks, c.idealWavefronts += kLanes / banks;
    return;
  }
  uint64_t unit[kLanes];
  for (int l = 0; l < kLanes; ++l) unit[l] = r.at[l] / unitBytes;
  const Mask group = banks == 32 ? kAllLanes : (1u << banks) - 1;
  for (uint32_t first = 0; first < kLanes; first += banks)
    if (const Mask lanes = r.lanes & group << first) c.wavefronts += r.uniform() ? 1 : passes(unit, banks, lanes), ++c.idealWavefronts;
}

void countFootprint(Warp& w, Allocation& a, const Request& r) {
  if (!w.run->options.count) return;
  if (r.reads()) setSectors(a.readSectors, r);
  if (r.writes()) setSectors(a.writtenSectors, r);
}

}  // namespace lantern::simt
