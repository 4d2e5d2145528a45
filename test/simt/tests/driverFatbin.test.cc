// What is read from fatbins and cubins, against what ptxas said when it made them; occupancy.
#include <cmath>
#include <cstring>
#include <sstream>

#include "driverSupport.h"
#include "fatbin.h"
#include "gpu.h"
#include "machine.h"

using namespace lantern::simt;
using namespace lantern::simt::test;

namespace {

int refusal(const std::string& image) {
  try {
    Fatbin::read(image.data());
  } catch (const Error& e) {
    return int(e.code);
  }
  return 0;
}

}  // namespace

TEST("driver fatbin: registers, shared memory and stack of every kernel on every architecture are those of ptxas") {
  const Fatbin fatbin = Fatbin::read(kernelImage().data());
  CHECK(fatbin.ptxArchitecture == 80 && fatbin.ptx.find(".target sm_80") != std::string::npos);
  CHECK(fatbin.cubins.size() == 6);
  const std::string log = readFile(DRIVER_KERNELS ".log");
  std::istringstream lines(log);
  std::string kernel;
  int architecture = 0, seen = 0, withShared = 0, withStack = 0;
  Resources told;
  for (std::string line; std::getline(lines, line);) {
    char name[100];
    const char* compiling = std::strstr(line.c_str(), "Compiling entry function '");
    if (compiling && std::sscanf(compiling, "%*[^']'%99[^']' for 'sm_%d", name, &architecture) == 2)
      kernel = name, told = {};
    unsigned number = 0;
    if (std::sscanf(line.c_str(), "%u bytes stack frame", &number) == 1) told.stackBytes = number;
    const char* used = std::strstr(line.c_str(), "Used ");
    if (!used) continue;
    std::sscanf(used, "Used %u registers", &told.registers);
    for (const char* p = used; (p = std::strchr(p, ',')); ++p)
      if (std::strstr(p, " bytes smem") && std::sscanf(p, ", %u bytes smem", &number) == 1) told.staticShared = number;
    const Cubin* cubin = fatbin.cubinFor(architecture);
    CHECK(cubin && cubin->architecture == architecture && cubin->kernels.count(kernel));
    if (!cubin || !cubin->kernels.count(kernel)) continue;
    const Resources& read = cubin->kernels.at(kernel);
    CHECK(read.registers == told.registers);
    CHECK(read.staticShared == told.staticShared);
    CHECK(read.stackBytes == told.stackBytes);
    ++seen, withShared += told.staticShared > 0, withStack += told.stackBytes > 0;
  }
  CHECK(seen == 6 * 11 && withShared >= 6 && withStack >= 6);
  CHECK(fatbin.cubins[0].kernels.at("reversed").maxThreads == 160 && fatbin.cubins[0].kernels.at("manyRegisters").maxThreads == 0);
}

TEST("driver fatbin: a device runs the cubin of its major version and the highest minor version it has") {
  Fatbin fatbin;
  for (const int a : {80, 86, 90}) fatbin.cubins.push_back({a, {}});
  const auto chosen = [&](int capability) {
    const Cubin* c = fatbin.cubinFor(capability);
    return c ? c->architecture : 0;
  };
  CHECK(chosen(75) == 0 && chosen(80) == 80 && chosen(86) == 86 && chosen(89) == 86 && chosen(90) == 90 && chosen(100) == 0);
}

TEST("driver fatbin: broken images are refused") {
  const std::string& image = kernelImage();
  const int invalid = int(Result::invalidPtx);
  CHECK(refusal("\177ELF and so on") == invalid);
  CHECK(refusal("nothing of the kind") == invalid);
  std::string compressed = image;  // the flag in the first entry
  compressed[16 + 41] = char(compressed[16 + 41] | 0x20);
  CHECK(refusal(compressed) == int(Result::unsupportedPtxVersion));
  std::string wrongArchitecture = image;
  wrongArchitecture[16 + 28] = 86;
  CHECK(refusal(wrongArchitecture) == invalid);
  const size_t elf = image.find("\177ELF");
  for (const size_t length : {size_t(10), size_t(63), size_t(2000)}) {
    bool refused = false;
    try {
      readCubin(std::string_view(image).substr(elf, length));
    } catch (const Error&) {
      refused = true;
    }
    CHECK(refused);
  }
}

TEST("driver fatbin: all fatbins of a file are found, nothing else is") {
  const std::string& image = kernelImage();
  const std::string file = "some bytes" + image + std::string("\x50\xed\x55\xba not one", 12) + image + "more";
  CHECK(fatbinsOf(file).size() == 2);
  CHECK(fatbinsOf("no fatbin here").empty());
}

TEST("driver fatbin: occupancy is that of the vendor's calculator") {
  struct Case {
    int capability, threads;
    Resources kernel;
    int dynamicShared, blocks;
  };
  // Worked by hand: threads, registers in units of 256 a warp, shared memory with 1 KiB reserved for each block, blocks.
  const Case cases[] = {
      {80, 256, {45, 0, 0, 256}, 0, 5},          // registers: 48 * 256 of 65536
      {80, 1024, {32, 0, 0, 1024}, 0, 2},        // threads
      {80, 32, {16, 0, 0, 32}, 0, 32},           // blocks
      {80, 128, {128, 24576, 0, 128}, 0, 4},     // registers
      {80, 128, {32, 24576, 0, 128}, 0, 6},      // shared: 25600 of 167936
      {86, 1024, {32, 0, 0, 1024}, 0, 1},        // 1536 threads
      {90, 256, {32, 0, 0, 256}, 100 * 1024, 2},  // 2 * 101 KiB of 228 KiB
      {86, 256, {32, 0, 0, 256}, 100 * 1024, 0},  // more than a block can have
  };
  for (const Case& c : cases) CHECK(occupancy(*gpuOf(c.capability), c.kernel, c.threads, c.dynamicShared).blocks == c.blocks);
  CHECK(std::abs(occupancy(*gpuOf(80), {45, 0, 0, 256}, 256, 0).threads - 5 * 256 / 2048.) < 1e-12);
  CHECK(registersOf({45, 0, 0, 0}, 256) == 8 * 1536 && registersOf({45, 0, 0, 0}, 33) == 2 * 1536);
  CHECK(!gpuOf(81));
}
