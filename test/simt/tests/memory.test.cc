// Memory: what the host may do, and what the machine says about wrong accesses of a kernel.
#include <array>

#include "support.h"

using namespace lantern::simt;
using namespace lantern::simt::test;

namespace {

const std::string kCopy = kernelText(".param .u64 x, .param .u64 y", elementOf("x", 4) + "ld.global.u32 %r2, [%rd2];\n" + elementOf("y", 4) + "st.global.u32 [%rd2], %r2;");

}  // namespace

TEST("memory: host copies reach what they name and nothing else") {
  Memory memory;
  const uint64_t x = memory.allocate(100, "x");
  std::vector<uint8_t> bytes(100, 7), back(100);
  memory.copyIn(x, bytes.data(), 60);
  CHECK(memory.copyOut(back.data(), x, 100) == 40);  // never written
  CHECK(back[59] == 7 && back[60] == 0xff);
  memory.copy(x + 50, x + 40, 20);  // overlapping
  CHECK(memory.copyOut(back.data(), x, 100) == 30);
  memory.set(x + 96, 0x01020304, 4, 1);
  memory.copyOut(back.data(), x, 100);
  CHECK(back[96] == 4 && back[99] == 1);
  CHECK(errorOf([&] { memory.copyIn(x + 1, bytes.data(), 100); }) == 1);
  CHECK(errorOf([&] { memory.set(x + 98, 0, 4, 1); }) == 1);
  CHECK(errorOf([&] { memory.free(x + 1); }) == 1);
  memory.free(x);
  std::string message;
  CHECK(errorOf([&] { memory.free(x); }, &message) == 1 && message.find("freed") != std::string::npos);
  CHECK(memory.used() == 0 && memory.blocks().empty());
}

TEST("memory: its size is a limit") {
  Memory memory;
  memory.limit(1000);
  const uint64_t x = memory.allocate(600);
  CHECK(errorOf([&] { memory.allocate(401); }) == 2);
  memory.free(x);
  CHECK(memory.allocate(1000) != x);  // addresses are not given out twice
}

TEST("access: in bounds nothing is found") {
  Machine m(kCopy);
  const uint64_t x = m.array(std::vector<int>(32, 5)), y = m.memory.allocate(128, "y");
  m.run({1}, {32}, 0, x, y);
  CHECK(m.read<int>(y, 32) == std::vector<int>(32, 5));
  CHECK(m.report.findings.empty());
  CHECK(m.report.total.bytesRead == 128 && m.report.total.bytesWritten == 128);
  CHECK(m.report.total.sectors == 8 && m.report.total.idealSectors == 8);
  CHECK(m.report.footprint.size() == 2 && m.report.footprint[0].bytesRead == 128 && m.report.footprint[1].bytesWritten == 128);
}

TEST("access: one past the end, a freed array, a null pointer") {
  std::string message;
  Machine m(kCopy);
  const uint64_t x = m.array(std::vector<int>(31, 5), "short"), y = m.memory.allocate(128);
  CHECK(errorOf([&] { m.run({1}, {32}, 0, x, y); }, &message) == 700);
  for (const char* part : {"thread 31", "'short'", "ld.global.u32"}) CHECK(message.find(part) != std::string::npos);
  m.memory.free(x);
  CHECK(errorOf([&] { m.run({1}, {32}, 0, x, y); }, &message) == 700 && message.find("freed") != std::string::npos);
  CHECK(errorOf([&] { m.run({1}, {32}, 0, uint64_t(0), y); }) == 700);
}

TEST("access: the bytes before an allocation, by an instruction that was inside it") {
  Machine m(kernelText(".param .u64 x", "ld.param.u64 %rd1, [x];\nmov.u32 %r1, %ctaid.x;\nmul.wide.u32 %rd2, %r1, 4;\nsub.s64 %rd2, %rd1, %rd2;\nld.global.u32 %r2, [%rd2];"));
  const uint64_t x = m.array(std::vector<int>(4, 1));
  CHECK(errorOf([&] { m.run({1}, {1}, 0, x); }) == 0);
  CHECK(errorOf([&] { m.run({2}, {1}, 0, x); }) == 700);
}

TEST("access: alignment is that of the whole vector") {
  Machine m(kernelText(".param .u64 x", "ld.param.u64 %rd1, [x];\nld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1+8];"));
  const uint64_t x = m.array(std::vector<int>(64, 1));
  CHECK(errorOf([&] { m.run({1}, {32}, 0, x); }) == 716);
  CHECK(errorOf([&] { m.run({1}, {32}, 0, x + 8); }) == 0);
}

TEST("access: uninitialised bytes are found where they are read") {
  Machine m(kCopy);
  const uint64_t x = m.memory.allocate(128, "fresh"), y = m.memory.allocate(128);
  std::vector<int> most(31, 1);
  m.memory.copyIn(x, most.data(), 124);
  m.run({1}, {32}, 0, x, y);
  CHECK(m.found("uninitialised") && m.report.findings[0].count == 1);
  CHECK(m.report.findings[0].what.find("thread 31") != std::string::npos);
  m.options.checkInitialised = false;
  m.run({1}, {32}, 0, x, y);
  CHECK(m.report.findings.empty());
}

TEST("access: shared memory has bounds, gaps between arrays, and begins uninitialised") {
  const std::string arrays = ".shared .align 4 .b8 a[128];\n.shared .align 4 .b8 b[128];\n";
  auto machine = [&](const std::string& offset) {
    return std::make_unique<Machine>(kernelText(".param .u32 n", arrays + "mov.u32 %r1, a;\nmov.u32 %r2, b;\nst.shared.u32 [%r1], 1;\nst.shared.u32 [%r2], 1;\n"
                                                "ld.shared.u32 %r3, [%r1+" + offset + "];"));
  };
  auto outcome = [&](const std::string& offset) {
    auto m = machine(offset);
    const int code = errorOf([&] { m->run({1}, {1}, 0, 0u); });
    return code ? code : int(m->found("uninitialised"));
  };
  CHECK(outcome("0") == 0);
  CHECK(outcome("4") == 1);      // not written
  CHECK(outcome("128") == 700);  // between the arrays
  CHECK(outcome("4096") == 700);
  CHECK(outcome("2") == 716);
  // what one block has written, the next one has not
  Machine m(kernelText(".param .u32 n", ".shared .align 4 .b8 s[4];\nmov.u32 %r1, %ctaid.x;\nsetp.eq.u32 %p1, %r1, 0;\n@%p1 st.shared.u32 [s], 1;\nld.shared.u32 %r2, [s];"));
  m.run({2}, {1}, 0, 0u);
  CHECK(m.found("uninitialised") && m.report.findings[0].what.find("block (1,0,0)") != std::string::npos);
}

TEST("access: dynamic shared memory, local memory and parameters have bounds") {
  // what the access at `offset` ends with, of 64 bytes of each
  auto outcome = [](const std::string& body, int offset) {
    Machine m(kernelText(".param .align 8 .b8 p[64]", ".local .align 4 .b8 depot[64];\n" + body + "+" + std::to_string(offset) + "], %r2;",
                         ".extern .shared .align 16 .b8 dynamic[];"));
    return errorOf([&] { m.run({1}, {32}, 64, std::array<uint32_t, 16>()); });
  };
  for (const char* body : {"mov.u32 %r1, dynamic;\nst.shared.u32 [%r1", "mov.u64 %rd1, depot;\nst.local.u32 [%rd1"}) {
    CHECK(outcome(body, 60) == 0);
    CHECK(outcome(body, 64) == 700);
    CHECK(outcome(body, 1 << 20) == 700);
    CHECK(outcome(body, 2) == 716);
  }
  const std::string parameter = "mov.b64 %rd1, p;\ncvta.param.u64 %rd2, %rd1;\n";
  auto read = [&](int offset) {
    return outcome(parameter + "ld.u32 %r1, [%rd2+" + std::to_string(offset) + "];\nmov.u64 %rd1, depot;\nst.local.u32 [%rd1", 0);
  };
  CHECK(read(60) == 0);
  CHECK(read(64) == 700);
  CHECK(read(2) == 716);
  CHECK(outcome(parameter + "st.u32 [%rd2", 0) == 700);
}

TEST("access: sectors and wavefronts are counted") {
  // 32 lanes, 8 bytes apart: twice the sectors; a stride of 32 words: 32 wavefronts
  Machine m(kernelText(".param .u64 x", ".shared .align 16 .b8 s[8192];\nld.param.u64 %rd1, [x];\nmov.u32 %r1, %tid.x;\nmul.wide.u32 %rd2, %r1, 8;\n"
                       "add.s64 %rd2, %rd1, %rd2;\nld.global.u32 %r2, [%rd2];\nmov.u32 %r3, s;\nshl.b32 %r4, %r1, 7;\nadd.s32 %r4, %r3, %r4;\n"
                       "st.shared.u32 [%r4], %r2;\nshl.b32 %r5, %r1, 4;\nadd.s32 %r5, %r3, %r5;\nadd.s32 %r5, %r5, 4096;\nst.shared.v4.u32 [%r5], {%r2, %r2, %r2, %r2};"));
  m.run({1}, {32}, 0, m.array(std::vector<int>(64, 1)));
  CHECK(m.report.total.sectors == 8 && m.report.total.idealSectors == 4);
  CHECK(m.report.total.wavefronts == 32 + 4 && m.report.total.idealWavefronts == 1 + 4);
}
