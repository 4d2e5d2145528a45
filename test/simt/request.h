// What one warp instruction asks of a memory: each of its lanes a few bytes.
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>

#include "program.h"

namespace lantern::simt {

enum class Access : uint8_t { read, write, atomic, asyncWrite };

// A lane that takes no part stands at the place of the first that does, so that loops need not leave it out.
struct Request {
  uint64_t at[kLanes];
  Mask lanes;
  uint32_t bytes;  // of each lane: 1, 2, 4, 8 or 16
  Access access;
  bool row;        // all lanes, one behind the other
  bool aligned;    // each at a multiple of its bytes
  uint64_t low, high;  // from the first byte to behind the last

  Request(const uint64_t (&place)[kLanes], Mask takingPart, uint32_t bytesOfEach, Access kind) : lanes(takingPart), bytes(bytesOfEach), access(kind) {
    const uint64_t first = place[std::countr_zero(lanes)];
    uint64_t least = first, most = first, bits = first, apart = 0;
    for (uint32_t l = 0; l < kLanes; ++l) {
      at[l] = lanes >> l & 1 ? place[l] : first;
      least = std::min(least, at[l]), most = std::max(most, at[l]), bits |= at[l];
      apart |= at[l] ^ (first + uint64_t(l) * bytes);
    }
    low = least, high = end(most);
    aligned = (bits & (bytes - 1)) == 0;
    row = apart == 0 && lanes == kAllLanes;
  }
  Request(uint64_t place, int lane, uint32_t bytesOfEach, Access kind)
      : lanes(Mask(1) << lane), bytes(bytesOfEach), access(kind), row(false), aligned(place % bytesOfEach == 0), low(place), high(end(place)) {
    std::fill_n(at, kLanes, place);
  }
  bool reads() const { return access == Access::read || access == Access::atomic; }
  bool writes() const { return access != Access::read; }
  bool uniform() const { return high - low == bytes; }
  // The same with places counted from `base`.
  Request from(uint64_t base) const {
    Request r = *this;
    for (uint64_t& place : r.at) place -= base;
    r.low -= base, r.high -= base;
    return r;
  }

 private:
  uint64_t end(uint64_t place) const { return std::max(place, place + bytes); }  // addresses that wrap are beyond everything
};

// f(lane) for each lane of a mask.
template <class F>
inline void eachLane(Mask lanes, F f) {
  for (; lanes; lanes &= lanes - 1) f(std::countr_zero(lanes));
}

}  // namespace lantern::simt
