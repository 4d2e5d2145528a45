// Device memory inside: allocations with their data and what is known about each byte.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "machine.h"

namespace lantern::simt {

// One bit a byte, or a sector.
class Bits {
 public:
  void resize(uint64_t count) { words_.resize((count + 63) / 64); }
  void clear() { words_.assign(words_.size(), 0); }
  bool test(uint64_t i) const { return words_[i / 64] >> (i % 64) & 1; }
  void set(uint64_t i) { words_[i / 64] |= uint64_t(1) << (i % 64); }
  void setRange(uint64_t from, uint64_t count);
  void clearRange(uint64_t from, uint64_t count);
  uint64_t countRange(uint64_t from, uint64_t count) const;
  void copyRange(uint64_t to, const Bits& source, uint64_t from, uint64_t count);
  // Of an access: at most 16 bits, aligned to their number, a power of two; they lie in one word.
  bool testAligned(uint64_t from, uint32_t count) const {
    const uint64_t ones = (uint64_t(1) << count) - 1;
    return (words_[from / 64] >> (from % 64) & ones) == ones;
  }
  void setAligned(uint64_t from, uint32_t count) { words_[from / 64] |= ((uint64_t(1) << count) - 1) << (from % 64); }

 private:
  std::vector<uint64_t> words_;
};

// Who last wrote and read a few bytes, see order.h. 0: nobody.
struct Cell {
  uint32_t write = 0, read = 0;
};

// The cells of an allocation, one for every 4 bytes, or for 2 or 1 where such accesses were seen.
struct Shadow {
  std::vector<Cell> cells;
  uint32_t shift = 2;
  void cover(uint64_t bytes) {
    if (cells.empty()) cells.resize((bytes >> shift) + 1);
  }
  void refine(uint32_t finer);
  void reset() { cells.assign(cells.size(), {}); }
};

struct Allocation {
  uint64_t address = 0, bytes = 0;
  std::string label;
  bool global = false;
  std::unique_ptr<uint8_t[]> data;
  Bits written;  // by byte
  Shadow shadow;
  Bits readSectors, writtenSectors;  // of launch `touchedIn`
  uint64_t touchedIn = 0;

  bool holds(uint64_t from, uint64_t to) const { return from >= address && to <= address + bytes; }
  Memory::Block block() const { return {address, bytes, label, global}; }
};

constexpr uint64_t kSector = 32;

struct Memory::State {
  static constexpr uint64_t kBase = 0x7a0000000000, kGap = 512, kRememberFreed = 1 << 16;

  std::map<uint64_t, std::unique_ptr<Allocation>> live;
  std::map<uint64_t, Memory::Block> freed;  // the latest of them
  uint64_t next = kBase, used = 0, capacity = uint64_t(1) << 40;
  uint64_t launches = 0;
  uint32_t nextInterval = 1;           // of order.h; goes up over all launches
  std::vector<Allocation*> touched;    // by the launch that runs

  Allocation* find(uint64_t address) const;
  Allocation& add(uint64_t bytes, const std::string& label, bool global, uint64_t at = 0);  // at: an address of the caller's choice
  void remove(uint64_t address);
  Allocation& range(uint64_t address, uint64_t bytes, const char* what) const;  // or throws
  std::string describe(uint64_t address) const;  // "4 bytes past the end of 'x' (1024 bytes)", "in 'x', which was freed"
  void touch(Allocation& a);                     // readies the sectors for this launch
};

}  // namespace lantern::simt
