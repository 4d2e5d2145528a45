// Device memory: allocations, host access, and what is known about each byte.
#include "memory.h"

#include <sys/mman.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

namespace lantern::simt {

// ---- bits ----

namespace {
// Calls f(word index, mask) for the words that hold a range of bits.
template <class F>
void eachWord(uint64_t from, uint64_t count, F f) {
  const uint64_t to = from + count;
  while (from < to) {
    const uint64_t bit = from % 64, n = std::min<uint64_t>(64 - bit, to - from);
    f(from / 64, (n == 64 ? ~uint64_t(0) : (uint64_t(1) << n) - 1) << bit);
    from += n;
  }
}
}  // namespace

void Bits::setRange(uint64_t from, uint64_t count) {
  eachWord(from, count, [&](uint64_t w, uint64_t mask) { words_[w] |= mask; });
}
void Bits::clearRange(uint64_t from, uint64_t count) {
  eachWord(from, count, [&](uint64_t w, uint64_t mask) { words_[w] &= ~mask; });
}
uint64_t Bits::countRange(uint64_t from, uint64_t count) const {
  uint64_t n = 0;
  eachWord(from, count, [&](uint64_t w, uint64_t mask) { n += uint64_t(std::popcount(words_[w] & mask)); });
  return n;
}
uint64_t Bits::word(uint64_t from) const {
  const uint64_t w = from / 64, shift = from % 64;
  return shift && w + 1 < words_.size() ? words_[w] >> shift | words_[w + 1] << (64 - shift) : words_[w] >> shift;
}
void Bits::copyRange(uint64_t to, const Bits& source, uint64_t from, uint64_t count) {
  std::vector<uint64_t> copy;  // the ranges may overlap
  for (uint64_t at = 0; at < count; at += 64) copy.push_back(source.word(from + at));
  uint64_t done = 0;
  eachWord(to, count, [&](uint64_t w, uint64_t mask) {
    const uint64_t first = uint64_t(std::countr_zero(mask)), n = uint64_t(std::popcount(mask)), shift = done % 64;
    uint64_t bits = copy[done / 64] >> shift;
    if (shift && shift + n > 64) bits |= copy[done / 64 + 1] << (64 - shift);
    words_[w] = (words_[w] & ~mask) | (bits << first & mask);
    done += n;
  });
}

// ---- stamps ----

constexpr size_t kMapped = 1 << 16;  // bytes from which on the system gives zeros without writing them

Stamps::Stamps(size_t count) : count_(count) {
  if (count * sizeof(uint32_t) < kMapped) {
    data_ = static_cast<uint32_t*>(std::calloc(count, sizeof(uint32_t)));
    if (!data_) throw std::bad_alloc();
    return;
  }
  void* fresh = mmap(nullptr, count * sizeof(uint32_t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (fresh == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<uint32_t*>(fresh);
}
Stamps::~Stamps() {
  if (count_ * sizeof(uint32_t) < kMapped) std::free(data_);
  else munmap(data_, count_ * sizeof(uint32_t));
}

void Shadow::refine(uint32_t finer) {
  const size_t parts = size_t(1) << (shift - finer);
  for (Stamps* s : {&write, &read}) {
    Stamps fine(s->size() * parts);
    for (size_t i = 0; i < fine.size(); ++i)
      if (const uint32_t stamp = (*s)[i / parts]) fine[i] = stamp;
    *s = std::move(fine);
  }
  shift = finer;
}

// ---- allocations ----

Allocation* Memory::State::find(uint64_t address) const {
  auto it = live.upper_bound(address);
  if (it == live.begin()) return nullptr;
  Allocation* a = (--it)->second.get();
  return address < a->address + a->bytes ? a : nullptr;
}

Allocation& Memory::State::add(uint64_t bytes, const std::string& label, bool global, uint64_t at) {
  if (bytes > capacity || used > capacity - bytes)
    throw Error(Result::outOfMemory, "out of device memory: " + std::to_string(bytes) + " bytes asked for, " + std::to_string(used) + " of " +
                                         std::to_string(capacity) + " in use");
  auto a = std::make_unique<Allocation>();
  a->address = at ? at : next;
  a->bytes = bytes;
  a->label = label;
  a->global = global;
  a->data = std::make_unique_for_overwrite<uint8_t[]>(bytes);
  std::memset(a->data.get(), 0xff, bytes);
  a->written.resize(bytes);
  used += bytes;
  if (!at) next += (bytes + kGap - 1) / kGap * kGap + kGap;
  Allocation& added = *a;
  live[a->address] = std::move(a);
  return added;
}

void Memory::State::remove(uint64_t address) {
  const auto it = live.find(address);
  if (it == live.end()) throw Error(Result::invalidValue, "free of an address that is not the start of an allocation: " + describe(address));
  freed[address] = it->second->block();
  if (freed.size() > kRememberFreed) freed.erase(freed.begin());
  used -= it->second->bytes;
  live.erase(it);
}

Allocation& Memory::State::range(uint64_t address, uint64_t bytes, const char* what) const {
  Allocation* a = find(address);
  if (!a || !a->holds(address, address + bytes))
    throw Error(Result::invalidValue, std::string(what) + " of " + std::to_string(bytes) + " bytes is not inside one allocation: it begins " +
                                          describe(address));
  return *a;
}

std::string Memory::State::describe(uint64_t address) const {
  char hex[24];
  std::snprintf(hex, sizeof hex, "0x%llx", static_cast<unsigned long long>(address));
  auto named = [&](const Memory::Block& b) {
    return (b.label.empty() ? "an allocation" : "'" + b.label + "'") + " of " + std::to_string(b.bytes) + " bytes";
  };
  auto before = [&](const auto& map) {
    auto it = map.upper_bound(address);
    return it == map.begin() ? map.end() : --it;
  };
  if (const Allocation* a = find(address)) return "at " + std::string(hex) + ", byte " + std::to_string(address - a->address) + " of " + named(a->block());
  if (auto it = before(freed); it != freed.end() && address < it->first + it->second.bytes)
    return "at " + std::string(hex) + ", in " + named(it->second) + " that was freed";
  if (auto it = before(live); it != live.end())
    return "at " + std::string(hex) + ", " + std::to_string(address - it->first - it->second->bytes) + " bytes past the end of " + named(it->second->block());
  return "at " + std::string(hex) + ", which is no device memory";
}

void Memory::State::touch(Allocation& a) {
  if (a.touchedIn == launches) return;
  a.touchedIn = launches;
  const uint64_t sectors = (a.bytes + kSector - 1) / kSector;
  for (Bits* b : {&a.readSectors, &a.writtenSectors}) {
    b->resize(sectors);
    b->clear();
  }
  touched.push_back(&a);
}

// ---- what the host sees ----

Memory::Memory() : state_(std::make_unique<State>()) {}
Memory::~Memory() = default;

void Memory::limit(uint64_t bytes) { state_->capacity = bytes; }
uint64_t Memory::capacity() const { return state_->capacity; }
uint64_t Memory::used() const { return state_->used; }

uint64_t Memory::allocate(uint64_t bytes, const std::string& label) {
  if (bytes == 0) throw Error(Result::invalidValue, "allocation of 0 bytes");
  return state_->add(bytes, label, false).address;
}
void Memory::free(uint64_t address) {
  const Allocation* a = state_->find(address);
  if (a && a->global) throw Error(Result::invalidValue, "free of variable '" + a->label + "' of a module");
  state_->remove(address);
}
bool Memory::find(uint64_t address, Block& block) const {
  const Allocation* a = state_->find(address);
  if (a) block = a->block();
  return a != nullptr;
}
std::vector<Memory::Block> Memory::blocks() const {
  std::vector<Block> all;
  for (const auto& [address, a] : state_->live) all.push_back(a->block());
  return all;
}

void Memory::copyIn(uint64_t to, const void* from, uint64_t bytes) {
  if (!bytes) return;
  Allocation& a = state_->range(to, bytes, "copy to the device");
  std::memcpy(&a.data[to - a.address], from, bytes);
  a.written.setRange(to - a.address, bytes);
}
uint64_t Memory::copyOut(void* to, uint64_t from, uint64_t bytes) const {
  if (!bytes) return 0;
  const Allocation& a = state_->range(from, bytes, "copy from the device");
  std::memcpy(to, &a.data[from - a.address], bytes);
  return bytes - a.written.countRange(from - a.address, bytes);
}
void Memory::copy(uint64_t to, uint64_t from, uint64_t bytes) {
  if (!bytes) return;
  Allocation& a = state_->range(to, bytes, "copy on the device, to a destination that");
  const Allocation& b = state_->range(from, bytes, "copy on the device, from a source that");
  std::memmove(&a.data[to - a.address], &b.data[from - b.address], bytes);
  a.written.copyRange(to - a.address, b.written, from - b.address, bytes);
}
void Memory::set(uint64_t to, uint32_t value, uint32_t width, uint64_t count) {
  if (width != 1 && width != 2 && width != 4) throw Error(Result::invalidValue, "memory is set in units of 1, 2 or 4 bytes");
  if (to % width) throw Error(Result::invalidValue, "memory is set at an address that is no multiple of the unit");
  if (!count) return;
  Allocation& a = state_->range(to, count * width, "set");
  uint8_t* p = &a.data[to - a.address];
  if (width == 1) std::memset(p, int(value), count);
  else
    for (uint64_t i = 0; i < count; ++i) std::memcpy(p + i * width, &value, width);
  a.written.setRange(to - a.address, count * width);
}

}  // namespace lantern::simt
