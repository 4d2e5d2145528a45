// Device memory inside: allocations with their data and what is known about each byte.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "machine.h"

namespace lantern::simt {

// One bit a byte, or a sector.
class Bits {
 public:
  void resize(uint64_t count) { words_.resize((count + 63) / 64); }
  void clear() { words_.assign(words_.size(), 0); }
  bool empty() const { return words_.empty(); }
  bool test(uint64_t i) const { return words_[i / 64] >> (i % 64) & 1; }
  void set(uint64_t i) { words_[i / 64] |= uint64_t(1) << (i % 64); }
  void setRange(uint64_t from, uint64_t count);
  void clearRange(uint64_t from, uint64_t count);
  uint64_t countRange(uint64_t from, uint64_t count) const;
  bool testRange(uint64_t from, uint64_t count) const { return countRange(from, count) == count; }
  uint64_t word(uint64_t from) const;  // the 64 bits from there on, zeros behind the last word
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

// Zeros that take memory only where something was written: stamps are kept for whole allocations, and left for a part of them.
class Stamps {
 public:
  Stamps() = default;
  explicit Stamps(size_t count);
  Stamps(Stamps&& other) noexcept : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
  Stamps& operator=(Stamps&& other) noexcept {
    std::swap(data_, other.data_), std::swap(count_, other.count_);
    return *this;
  }
  ~Stamps();
  uint32_t& operator[](size_t i) { return data_[i]; }
  size_t size() const { return count_; }

 private:
  uint32_t* data_ = nullptr;
  size_t count_ = 0;
};

// Who last wrote and read each cell of an allocation, see order.h; 0: nobody. A cell is 4 bytes, or 2 or 1 where such accesses were seen.
struct Shadow {
  Stamps write, read;
  uint32_t shift = 2;
  bool empty() const { return write.size() == 0; }
  void cover(uint64_t bytes) {
    if (empty()) write = Stamps((bytes >> shift) + 1), read = Stamps((bytes >> shift) + 1);
  }
  void refine(uint32_t finer);
  void reset() { write = Stamps(), read = Stamps(); }
  uint64_t bytes() const { return 8 * write.size(); }
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
