// Races: what orders two accesses, and what does not.
#include "support.h"

using namespace lantern::simt;
using namespace lantern::simt::test;

namespace {

// A block of 64 threads: each stores its number to s[thread], `between`, and loads s[`from`], a register.
std::unique_ptr<Machine> exchange(const std::string& between, const std::string& from) {
  return std::make_unique<Machine>(kernelText(
      ".param .u64 y", ".shared .align 4 .b8 s[256];\n" + elementOf("y", 4) + "mov.u32 %r2, s;\nshl.b32 %r3, %r1, 2;\nadd.s32 %r3, %r2, %r3;\nst.shared.u32 [%r3], %r1;\n" +
                           between + from + "shl.b32 %r5, %r4, 2;\nadd.s32 %r5, %r2, %r5;\nld.shared.u32 %r6, [%r5];\nst.global.u32 [%rd2], %r6;"));
}
bool races(const std::string& between, const std::string& from) {
  bool any = false;
  for (Schedule s : {Schedule::forward, Schedule::reverse, Schedule::random}) {
    auto m = exchange(between, from);
    m->options.schedule = s;
    m->options.seed = 5;
    const uint64_t y = m->memory.allocate(256);
    m->run({3}, {64}, 0, y);
    any |= m->found("shared race");
  }
  return any;
}
const std::string kOtherWarp = "xor.b32 %r4, %r1, 32;\n", kNeighbour = "xor.b32 %r4, %r1, 1;\n", kSelf = "mov.u32 %r4, %r1;\n";

// The last block to finish sums what all blocks have stored, and is found by a ticket.
std::string lastBlock(const std::string& release, const std::string& acquire, const std::string& barrier) {
  return kernelText(".param .u64 part, .param .u64 ticket, .param .u64 y",
                    ".shared .align 4 .b8 last[4];\nld.param.u64 %rd1, [part];\nld.param.u64 %rd3, [ticket];\nld.param.u64 %rd4, [y];\nmov.u32 %r1, %tid.x;\n"
                    "mov.u32 %r2, %ctaid.x;\nmov.u32 %r3, %nctaid.x;\nmad.lo.s32 %r4, %r2, 64, %r1;\nmul.wide.u32 %rd2, %r4, 4;\nadd.s64 %rd2, %rd1, %rd2;\n"
                    "add.s32 %r5, %r4, 1;\nst.global.u32 [%rd2], %r5;\n" + barrier + "setp.ne.s32 %p1, %r1, 0;\n@%p1 bra WAIT;\n" + release +
                    "atom.global.add.u32 %r6, [%rd3], 1;\n" + acquire + "add.s32 %r7, %r6, 1;\nsetp.eq.s32 %p2, %r7, %r3;\nselp.b32 %r8, 1, 0, %p2;\nst.shared.u32 [last], %r8;\n"
                    "WAIT:\nbar.sync 0;\nld.shared.u32 %r9, [last];\nsetp.eq.s32 %p3, %r9, 0;\n@%p3 bra END;\nmov.u32 %r10, 0;\nmov.u32 %r11, 0;\n"
                    "LOOP:\nmad.lo.s32 %r12, %r11, 64, %r1;\nmul.wide.u32 %rd5, %r12, 4;\nadd.s64 %rd5, %rd1, %rd5;\nld.global.u32 %r13, [%rd5];\n"
                    "add.s32 %r10, %r10, %r13;\nadd.s32 %r11, %r11, 1;\nsetp.lt.s32 %p4, %r11, %r3;\n@%p4 bra LOOP;\nmul.wide.u32 %rd6, %r1, 4;\nadd.s64 %rd6, %rd4, %rd6;\n"
                    "st.global.u32 [%rd6], %r10;\nEND:");
}
bool lastBlockRaces(const std::string& release, const std::string& acquire, const std::string& barrier = "bar.sync 0;\n") {
  bool any = false;
  for (Schedule s : {Schedule::forward, Schedule::reverse, Schedule::random}) {
    Machine m(lastBlock(release, acquire, barrier));
    m.options.schedule = s;
    m.options.seed = 3;
    const uint64_t part = m.memory.allocate(5 * 256), ticket = m.array(std::vector<int>{0}), y = m.memory.allocate(256);
    m.run({5}, {64}, 0, part, ticket, y);
    CHECK(m.read<int>(y, 64)[63] == 64 * 5 + 64 * (0 + 1 + 2 + 3 + 4));
    any |= m.found("global race");
  }
  return any;
}

}  // namespace

TEST("order: a block barrier orders warps and lanes") {
  CHECK(races("", kOtherWarp));
  CHECK(races("", kNeighbour));
  CHECK(!races("", kSelf));
  CHECK(!races("bar.sync 0;\n", kOtherWarp));
  CHECK(!races("bar.sync 0, 64;\n", kOtherWarp));
}

TEST("order: __syncwarp orders the lanes of a warp, a shuffle does not") {
  CHECK(!races("bar.warp.sync -1;\n", kNeighbour));
  CHECK(races("bar.warp.sync -1;\n", kOtherWarp));
  CHECK(races("shfl.sync.bfly.b32 %r9, %r1, 1, 31, -1;\n", kNeighbour));
  // pairs of lanes only: the neighbour is ordered, the lane two away is not
  const std::string pairs = "shr.u32 %r20, %r1, 1;\nshl.b32 %r20, %r20, 1;\nand.b32 %r20, %r20, 31;\nshl.b32 %r21, 3, %r20;\nbar.warp.sync %r21;\n";
  CHECK(!races(pairs, kNeighbour));
  CHECK(races(pairs, "xor.b32 %r4, %r1, 2;\n"));
}

TEST("order: a write after a read, and two writes") {
  const std::string overwrite = "ld.shared.u32 %r7, [%r3];\n";
  auto again = [&](const std::string& between) {
    // reads s[thread ^ 32], then stores to s[thread]
    return kernelText(".param .u32 n", ".shared .align 4 .b8 s[256];\nmov.u32 %r1, %tid.x;\nmov.u32 %r2, s;\nshl.b32 %r3, %r1, 2;\nadd.s32 %r3, %r2, %r3;\nst.shared.u32 [%r3], %r1;\n"
                      "bar.sync 0;\nxor.b32 %r4, %r3, 128;\nld.shared.u32 %r6, [%r4];\n" + between + "st.shared.u32 [%r3], %r6;");
  };
  Machine racy(again("")), fine(again("bar.sync 0;\n"));
  racy.run({1}, {64}, 0, 0u);
  fine.run({1}, {64}, 0, 0u);
  CHECK(racy.found("shared race") && !fine.found("shared race"));
  Machine writes(kernelText(".param .u32 n", ".shared .align 4 .b8 s[4];\nmov.u32 %r1, %tid.x;\nst.shared.u32 [s], %r1;"));
  writes.run({1}, {32}, 0, 0u);
  CHECK(writes.found("shared race"));
  Machine atomics(kernelText(".param .u32 n", ".shared .align 4 .b8 s[4];\nmov.u32 %r1, %tid.x;\nsetp.eq.s32 %p1, %r1, 0;\n@%p1 st.shared.u32 [s], 0;\nbar.sync 0;\n"
                             "red.shared.add.u32 [s], %r1;\nbar.sync 0;\nld.shared.u32 %r2, [s];"));
  atomics.run({1}, {64}, 0, 0u);
  CHECK(atomics.report.findings.empty());
}

TEST("order: neighbours of fewer than four bytes are not the same memory") {
  Machine m(kernelText(".param .u64 x", "ld.param.u64 %rd1, [x];\nmov.u32 %r1, %ctaid.x;\nmul.wide.u32 %rd2, %r1, 2;\nadd.s64 %rd2, %rd1, %rd2;\nmov.u32 %r2, %tid.x;\n"
                       "cvt.u64.u32 %rd3, %r2;\nadd.s64 %rd2, %rd2, %rd3;\ncvt.u16.u32 %rs1, %r1;\nst.global.u8 [%rd2], %rs1;"));
  m.run({8}, {2}, 0, m.memory.allocate(16));
  CHECK(m.report.findings.empty());
}

TEST("order: blocks are not ordered") {
  // every block stores to its own element and loads its neighbour's
  Machine m(kernelText(".param .u64 x", "ld.param.u64 %rd1, [x];\nmov.u32 %r1, %ctaid.x;\nmul.wide.u32 %rd2, %r1, 4;\nadd.s64 %rd2, %rd1, %rd2;\nst.global.u32 [%rd2], %r1;\n"
                       "xor.b32 %r2, %r1, 1;\nmul.wide.u32 %rd2, %r2, 4;\nadd.s64 %rd2, %rd1, %rd2;\nld.global.u32 %r3, [%rd2];"));
  const uint64_t x = m.array(std::vector<int>(2, 0));
  m.run({2}, {1}, 0, x);
  CHECK(m.found("global race"));
  // and a launch is ordered after the one before
  Machine store(kernelText(".param .u64 x", elementOf("x", 4) + "st.global.u32 [%rd2], %r1;"));
  const uint64_t y = store.memory.allocate(256);
  store.run({1}, {32}, 0, y);
  store.run({1}, {64}, 0, y);
  CHECK(store.report.findings.empty());
}

TEST("order: atomics on the same word do not race, a plain access beside them does") {
  auto text = [](const std::string& op) { return kernelText(".param .u64 x", "ld.param.u64 %rd1, [x];\natom.global.add.u32 %r1, [%rd1], 1;\n" + op); };
  Machine atomics(text("")), plain(text("ld.global.u32 %r2, [%rd1];"));
  atomics.run({4}, {32}, 0, atomics.array(std::vector<int>{0}));
  plain.run({4}, {32}, 0, plain.array(std::vector<int>{0}));
  CHECK(!atomics.found("global race") && plain.found("global race"));
}

TEST("order: the last block may reduce what the others have published") {
  CHECK(!lastBlockRaces("membar.gl;\n", "membar.gl;\n"));
  CHECK(!lastBlockRaces("fence.acq_rel.gpu;\n", "fence.acq_rel.gpu;\n"));
  CHECK(lastBlockRaces("", ""));
  CHECK(lastBlockRaces("", "membar.gl;\n"));             // nothing was released
  CHECK(lastBlockRaces("membar.gl;\n", ""));             // nothing is acquired
  CHECK(lastBlockRaces("membar.cta;\n", "membar.cta;\n"));  // not across blocks
  CHECK(lastBlockRaces("membar.cta;\n", "membar.gl;\n"));
  CHECK(lastBlockRaces("membar.gl;\n", "membar.cta;\n"));
  CHECK(lastBlockRaces("membar.gl;\n", "membar.gl;\n", ""));  // thread 0 publishes for threads it never met
}

TEST("order: named barriers between a producer and a consumer") {
  auto text = [](const std::string& produced, const std::string& consumed) {
    return kernelText(".param .u32 n", ".shared .align 4 .b8 s[128];\nmov.u32 %r1, %tid.x;\nand.b32 %r2, %r1, 31;\nshl.b32 %r2, %r2, 2;\nmov.u32 %r3, s;\nadd.s32 %r2, %r3, %r2;\n"
                      "setp.ge.u32 %p1, %r1, 32;\n@%p1 bra CONSUMER;\nst.shared.u32 [%r2], %r1;\n" + produced + "bra END;\nCONSUMER:\n" + consumed + "ld.shared.u32 %r4, [%r2];\nEND:");
  };
  Machine fine(text("bar.arrive 1, 64;\n", "bar.sync 1, 64;\n")), racy(text("", ""));
  fine.run({1}, {64}, 0, 0u);
  CHECK(fine.report.findings.empty());
  racy.run({1}, {64}, 0, 0u);
  CHECK(racy.found("shared race"));
}

TEST("order: a write after reads of other warps, all of which must be ordered before it") {
  const std::string begin = ".shared .align 4 .b8 s[4];\nmov.u32 %r1, %tid.x;\nshr.u32 %r2, %r1, 5;\nsetp.eq.u32 %p1, %r1, 0;\n@%p1 st.shared.u32 [s], 1;\n"
                            "bar.sync 0;\nsetp.eq.u32 %p2, %r2, 2;\n@%p2 bra WRITER;\nld.shared.u32 %r3, [s];\n";
  // warps 0 and 1 read, `readers` do something; warp 2 does something and writes
  auto races = [&](const std::string& readers, const std::string& writer) {
    Machine m(kernelText(".param .u32 n", begin + readers + "bra END;\nWRITER:\n" + writer + "setp.ne.u32 %p3, %r1, 64;\n@%p3 bra END;\nst.shared.u32 [s], 2;\nEND:"));
    m.run({1}, {96}, 0, 0u);
    return m.found("shared race");
  };
  CHECK(races("", ""));
  CHECK(!races("bar.arrive 1, 96;\n", "bar.sync 1, 96;\n"));
  CHECK(races("setp.eq.u32 %p4, %r2, 0;\n@%p4 bra END;\nbar.arrive 1, 64;\n", "bar.sync 1, 64;\n"));  // warp 1 alone
}

TEST("order: a write after reads of other blocks") {
  Machine m(kernelText(".param .u64 x", "ld.param.u64 %rd1, [x];\nmov.u32 %r1, %ctaid.x;\nsetp.eq.u32 %p1, %r1, 2;\n@!%p1 ld.global.u32 %r2, [%rd1];\n@%p1 st.global.u32 [%rd1], %r1;"));
  m.run({3}, {1}, 0, m.array(std::vector<int>{0}));
  CHECK(m.found("global race"));
}

TEST("order: a plain read of what an atomic wrote, and a read-only load of what the launch wrote") {
  Machine plain(kernelText(".param .u64 x", "ld.param.u64 %rd1, [x];\nmov.u32 %r1, %ctaid.x;\nsetp.eq.u32 %p1, %r1, 0;\n@%p1 red.global.add.u32 [%rd1], 1;\n"
                                            "@!%p1 ld.global.u32 %r2, [%rd1];"));
  plain.run({2}, {1}, 0, plain.array(std::vector<int>{0}));
  CHECK(plain.found("global race"));
  Machine readOnly(kernelText(".param .u64 x", "ld.param.u64 %rd1, [x];\nst.global.u32 [%rd1], 1;\nld.global.nc.u32 %r2, [%rd1];"));
  readOnly.run({1}, {1}, 0, readOnly.array(std::vector<int>{0}));
  CHECK(readOnly.found("read-only load"));
}
