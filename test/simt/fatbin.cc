#include "fatbin.h"

#include <cstring>

#include "machine.h"

namespace lantern::simt {

namespace {

constexpr uint32_t kFatbinMagic = 0xba55ed50, kWrapperMagic = 0x466243b1;
constexpr uint64_t kCompressed = 0x2000;  // of Entry::flags: LZ4; newer compilers use zstd and another bit, both set `compressedBytes`

struct Header {
  uint32_t magic;
  uint16_t version, headerBytes;
  uint64_t payloadBytes;
};

struct Wrapper {
  uint32_t magic, version;
  const void* fatbin;
  void* unused;
};

enum class EntryKind : uint16_t { ptx = 1, elf = 2 };

struct Entry {
  EntryKind kind;
  uint16_t version;
  uint32_t headerBytes;
  uint64_t bytes;
  uint32_t compressedBytes, optionsOffset;
  uint16_t minor, major;
  uint32_t architecture;
  uint32_t nameOffset, nameBytes;
  uint64_t flags;
};
static_assert(sizeof(Entry) == 48);

// ELF64, what is needed of it.
struct ElfHeader {
  unsigned char ident[16];
  uint16_t type, machine;
  uint32_t version;
  uint64_t entry, programHeaders, sectionHeaders;
  uint32_t flags;
  uint16_t headerBytes, programHeaderBytes, programHeaderCount, sectionHeaderBytes, sectionCount, nameSection;
};
static_assert(sizeof(ElfHeader) == 64);

struct Section {
  uint32_t name, type;
  uint64_t flags, address, offset, bytes;
  uint32_t link, info;
  uint64_t alignment, entryBytes;
};
static_assert(sizeof(Section) == 64);

struct Symbol {
  uint32_t name;
  unsigned char info, other;
  uint16_t section;
  uint64_t value, bytes;
};
static_assert(sizeof(Symbol) == 24);

constexpr uint16_t kMachineCuda = 190;
constexpr int kReservesShared = 90;  // since this architecture .nv.shared begins with what the system reserves of a block's shared memory
constexpr uint64_t kReservedBytes = 1024;
constexpr uint32_t kNoBits = 8;  // a section that takes no room in the file

[[noreturn]] void malformed(const std::string& what) { throw Error(Result::invalidPtx, "malformed image: " + what); }

template <class T>
T at(std::string_view bytes, uint64_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) malformed("it ends early");
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

std::string_view part(std::string_view bytes, uint64_t offset, uint64_t count) {
  if (offset > bytes.size() || bytes.size() - offset < count) malformed("it ends early");
  return bytes.substr(offset, count);
}

std::string text(std::string_view strings, uint64_t offset) {
  const std::string_view rest = part(strings, offset, strings.size() - std::min<uint64_t>(offset, strings.size()));
  return std::string(rest.substr(0, rest.find('\0')));
}

// The attributes of an .nv.info section: {format, attribute, 16-bit value or size, payload of that size if the format says so}.
enum Attribute : uint8_t { kMaxThreads = 0x05, kFrameBytes = 0x11, kRegisters = 0x2f };
template <class F>
void eachAttribute(std::string_view info, F&& f) {
  constexpr uint8_t kSized = 4;
  for (uint64_t p = 0; p + 4 <= info.size();) {
    const uint8_t format = at<uint8_t>(info, p), attribute = at<uint8_t>(info, p + 1);
    const uint16_t size = format == kSized ? at<uint16_t>(info, p + 2) : 0;
    f(attribute, part(info, p + 4, size));
    p += 4 + size;
  }
}

bool startsWith(const std::string& s, std::string_view prefix) { return s.compare(0, prefix.size(), prefix) == 0; }

}  // namespace

Cubin readCubin(std::string_view elf) {
  const ElfHeader header = at<ElfHeader>(elf, 0);
  if (std::memcmp(header.ident, "\177ELF\2", 5) != 0 || header.machine != kMachineCuda) malformed("not a 64-bit cubin");
  std::vector<Section> sections;
  for (int i = 0; i < header.sectionCount; ++i) sections.push_back(at<Section>(elf, header.sectionHeaders + i * sizeof(Section)));
  const auto contents = [&](const Section& s) { return s.type == kNoBits ? std::string_view{} : part(elf, s.offset, s.bytes); };
  if (header.nameSection >= sections.size()) malformed("no section names");
  const std::string_view names = contents(sections[header.nameSection]);

  Cubin cubin;
  cubin.architecture = header.flags >> 8 & 0xff;
  std::vector<std::string> symbols;
  for (const Section& s : sections)
    if (text(names, s.name) == ".symtab" && s.link < sections.size())
      for (uint64_t i = 0; i < s.bytes / sizeof(Symbol); ++i)
        symbols.push_back(text(contents(sections[s.link]), at<Symbol>(elf, s.offset + i * sizeof(Symbol)).name));
  for (const Section& s : sections)
    if (const std::string name = text(names, s.name); startsWith(name, ".nv.info.")) cubin.kernels[name.substr(9)];

  for (const Section& s : sections) {
    const std::string name = text(names, s.name);
    if (startsWith(name, ".nv.shared.") && !startsWith(name, ".nv.shared.reserved")) {
      if (const auto k = cubin.kernels.find(name.substr(11)); k != cubin.kernels.end())
        k->second.staticShared = uint32_t(s.bytes - (cubin.architecture >= kReservesShared ? std::min(s.bytes, kReservedBytes) : 0));
    } else if (name == ".nv.info") {
      eachAttribute(contents(s), [&](uint8_t attribute, std::string_view payload) {
        if (attribute != kRegisters && attribute != kFrameBytes) return;
        const uint32_t symbol = at<uint32_t>(payload, 0), value = at<uint32_t>(payload, 4);
        if (symbol >= symbols.size()) malformed("an attribute of an unknown symbol");
        const auto k = cubin.kernels.find(symbols[symbol]);
        if (k == cubin.kernels.end()) return;  // a device function
        (attribute == kRegisters ? k->second.registers : k->second.stackBytes) = value;
      });
    } else if (startsWith(name, ".nv.info.")) {
      eachAttribute(contents(s), [&](uint8_t attribute, std::string_view payload) {
        if (attribute != kMaxThreads) return;
        cubin.kernels[name.substr(9)].maxThreads = at<uint32_t>(payload, 0) * at<uint32_t>(payload, 4) * at<uint32_t>(payload, 8);
      });
    }
  }
  for (const auto& [name, k] : cubin.kernels)
    if (!k.registers) malformed("no register count of " + name);
  return cubin;
}

namespace {

Fatbin readContainer(std::string_view bytes) {
  Fatbin fatbin;
  const Header header = at<Header>(bytes, 0);
  for (uint64_t p = header.headerBytes, end = p + header.payloadBytes; p < end;) {
    const Entry entry = at<Entry>(bytes, p);
    if (entry.headerBytes < sizeof(Entry)) malformed("an entry without a header");
    if (entry.compressedBytes || entry.flags & kCompressed)
      throw Error(Result::unsupportedPtxVersion, "the fatbin is compressed; compile with nvcc --no-compress");
    const std::string_view image = part(bytes, p + entry.headerBytes, entry.bytes);
    if (entry.kind == EntryKind::ptx) {
      if (!fatbin.ptx.empty()) throw Error(Result::invalidPtx, "the fatbin holds several PTX texts; only one can be what was tested");
      fatbin.ptx = image.substr(0, image.find('\0'));
      fatbin.ptxArchitecture = int(entry.architecture);
    } else if (entry.kind == EntryKind::elf) {
      fatbin.cubins.push_back(readCubin(image));
      if (fatbin.cubins.back().architecture != int(entry.architecture)) malformed("a cubin of another architecture than its entry says");
    } else
      malformed("an entry of kind " + std::to_string(int(entry.kind)));
    p += entry.headerBytes + entry.bytes;
  }
  return fatbin;
}

// The architecture a PTX text asks for, from its .target line.
int targetOf(const std::string& ptx) {
  const size_t p = ptx.find(".target sm_");
  if (p == std::string::npos) throw Error(Result::invalidPtx, "not a fatbin, and not PTX text: there is no .target sm_");
  return std::atoi(ptx.c_str() + p + 11);
}

}  // namespace

Fatbin Fatbin::read(const void* image) {
  uint32_t magic;
  std::memcpy(&magic, image, sizeof magic);
  if (magic == kWrapperMagic) {
    Wrapper wrapper;
    std::memcpy(&wrapper, image, sizeof wrapper);
    return read(wrapper.fatbin);
  }
  if (magic == kFatbinMagic) {
    Header header;
    std::memcpy(&header, image, sizeof header);
    return readContainer({static_cast<const char*>(image), size_t(header.headerBytes + header.payloadBytes)});
  }
  if (std::memcmp(image, "\177ELF", 4) == 0) throw Error(Result::invalidPtx, "a cubin alone cannot be executed here: embed the PTX too");
  Fatbin fatbin;
  fatbin.ptx = static_cast<const char*>(image);
  fatbin.ptxArchitecture = targetOf(fatbin.ptx);
  return fatbin;
}

const Cubin* Fatbin::cubinFor(int capability) const {
  const Cubin* best = nullptr;
  for (const Cubin& c : cubins)
    if (c.architecture / 10 == capability / 10 && c.architecture <= capability && (!best || c.architecture > best->architecture)) best = &c;
  return best;
}

std::vector<Fatbin> fatbinsOf(std::string_view file) {
  std::vector<Fatbin> found;
  const std::string_view magic(reinterpret_cast<const char*>(&kFatbinMagic), sizeof kFatbinMagic);
  for (size_t p = file.find(magic); p != file.npos; p = file.find(magic, p + 1)) {
    const std::string_view rest = file.substr(p);
    if (rest.size() < sizeof(Header)) break;
    const Header header = at<Header>(rest, 0);
    if (header.version != 1 || header.headerBytes != sizeof(Header) || header.payloadBytes > rest.size() - sizeof(Header)) continue;
    found.push_back(readContainer(rest));
    p += sizeof(Header) + header.payloadBytes - 1;
  }
  return found;
}

}  // namespace lantern::simt
