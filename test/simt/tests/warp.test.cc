// Warps: shuffles, votes, divergence, waiting, barriers.
#include "support.h"

using namespace lantern::simt;
using namespace lantern::simt::test;

namespace {

std::vector<uint32_t> lanes() {
  std::vector<uint32_t> x(32);
  for (uint32_t l = 0; l < 32; ++l) x[l] = l;
  return x;
}
// One block of `threads`; what it throws, or 0.
int outcome(const std::string& body, uint32_t threads, std::string* message = nullptr) {
  Machine m(kernelText(".param .u32 n", "mov.u32 %r1, %tid.x;\n" + body));
  return errorOf([&] { m.run({1}, {threads}, 0, 0u); }, message);
}

}  // namespace

TEST("warp: shuffles take from the lane that the mode names, within the segment") {
  auto shuffle = [](const std::string& mode) { return applied<uint32_t>("shfl.sync." + mode + ", -1;\nselp.b32 %r21, 100, 0, %p1;\nadd.s32 %r20, %r19, %r21;", lanes()); };
  const auto down = shuffle("down.b32 %r19|%p1, %r10, 3, 31"), up = shuffle("up.b32 %r19|%p1, %r10, 3, 0"), butterfly = shuffle("bfly.b32 %r19|%p1, %r10, 5, 31");
  const auto index = shuffle("idx.b32 %r19|%p1, %r10, 9, 31"), segment = shuffle("down.b32 %r19|%p1, %r10, 3, 6175");  // segments of 8: 0x181f
  for (uint32_t l = 0; l < 32; ++l) {
    CHECK(down[l] == (l + 3 < 32 ? l + 103 : l));
    CHECK(up[l] == (l >= 3 ? l + 97 : l));
    CHECK(butterfly[l] == (l ^ 5) + 100);
    CHECK(index[l] == 109);
    CHECK(segment[l] == (l % 8 < 5 ? l + 103 : l));
  }
}

TEST("warp: votes, matches and reductions") {
  auto x = lanes();
  for (auto& v : x) v /= 3;
  const auto ballot = applied<uint32_t>("setp.gt.u32 %p1, %r10, 5;\nvote.sync.ballot.b32 %r20, %p1, -1;", x);
  CHECK(ballot[0] == 0xfffc0000);
  const auto all = applied<uint32_t>("setp.gt.u32 %p1, %r10, 5;\nvote.sync.all.pred %p2, !%p1, -1;\nvote.sync.any.pred %p3, %p1, -1;\nselp.b32 %r21, 1, 0, %p2;\nselp.b32 %r20, 2, %r21, %p3;", x);
  CHECK(all[7] == 2);
  const auto match = applied<uint32_t>("match.any.sync.b32 %r20, %r10, -1;", x);
  CHECK(match[0] == 7 && match[31] == 0xc0000000);
  CHECK(applied<uint32_t>("redux.sync.add.s32 %r20, %r10, -1;", lanes())[9] == 496);
  CHECK(applied<uint32_t>("redux.sync.max.u32 %r20, %r10, -1;", x)[0] == 10);
  CHECK(applied<uint32_t>("redux.sync.min.s32 %r20, %r10, -1;", std::vector<int32_t>(32, -4))[0] == uint32_t(-4));
  // half warps with masks of their own, at one instruction
  const auto halves = applied<uint32_t>("setp.lt.u32 %p1, %r1, 16;\nselp.b32 %r21, 65535, -65536, %p1;\nredux.sync.add.s32 %r20, %r10, %r21;", lanes());
  CHECK(halves[0] == 120 && halves[16] == 376);
}

TEST("warp: a lane outside the mask is an error, a shuffle from it a finding") {
  std::string message;
  CHECK(outcome("shfl.sync.bfly.b32 %r2, %r1, 1, 31, 65535;", 32, &message) == 719 && message.find("mask") != std::string::npos);
  Machine m(kernelText(".param .u32 n", "mov.u32 %r1, %tid.x;\nsetp.ge.u32 %p1, %r1, 16;\n@%p1 bra END;\nshfl.sync.bfly.b32 %r2, %r1, 16, 31, 65535;\nEND:"));
  m.run({1}, {32}, 0, 0u);
  CHECK(m.found("shuffle"));
}

TEST("warp: lanes of a mask wait for each other, and it is an error if one never comes") {
  // The lower half takes a detour before the shuffle that all take part in.
  CHECK(outcome("setp.lt.u32 %p1, %r1, 16;\n@!%p1 bra MEET;\nadd.s32 %r2, %r1, 1;\nMEET:\nshfl.sync.bfly.b32 %r3, %r1, 16, 31, -1;", 32) == 0);
  std::string message;
  CHECK(outcome("setp.lt.u32 %p1, %r1, 16;\n@!%p1 bra OTHER;\nshfl.sync.bfly.b32 %r3, %r1, 1, 31, -1;\nbra END;\nOTHER:\nshfl.sync.bfly.b32 %r3, %r1, 1, 31, -1;\nEND:", 32,
                &message) == 719);
  CHECK(message.find("0000ffff") != std::string::npos);
  // __syncwarp may be at two places
  CHECK(outcome("setp.lt.u32 %p1, %r1, 16;\n@!%p1 bra OTHER;\nbar.warp.sync -1;\nbra END;\nOTHER:\nbar.warp.sync -1;\nEND:", 32) == 0);
  // lanes that have exited are not waited for
  CHECK(outcome("setp.lt.u32 %p1, %r1, 16;\n@%p1 exit;\nbar.warp.sync -1;", 32) == 0);
}

TEST("barrier: whole warps may have exited; lanes of one warp may not be apart") {
  CHECK(outcome("setp.lt.u32 %p1, %r1, 32;\n@%p1 exit;\nbar.sync 0;", 96) == 0);
  std::string message;
  CHECK(outcome("setp.lt.u32 %p1, %r1, 16;\n@!%p1 bra OTHER;\nbar.sync 0;\nOTHER:\nbar.sync 1;", 32, &message) == 719);
}

TEST("barrier: a deadlock names the places where warps wait") {
  std::string message;
  CHECK(outcome("setp.lt.u32 %p1, %r1, 32;\n@%p1 bra A;\nbar.sync 1, 96;\nbra END;\nA: bar.sync 2, 96;\nEND:", 64, &message) == 719);
  CHECK(message.find("warp 0 waits") != std::string::npos && message.find("bar.sync 1") != std::string::npos);
}

TEST("barrier: sixteen of them, for whole warps, with one number of threads") {
  CHECK(outcome("bar.sync 15;", 32) == 0);
  CHECK(outcome("mov.u32 %r2, 16;\nbar.sync %r2;", 32) == 715);
  CHECK(outcome("mov.u32 %r2, 40;\nbar.sync 1, %r2;", 64) == 715);
  std::string message;
  CHECK(outcome("shr.u32 %r2, %r1, 5;\nshl.b32 %r2, %r2, 5;\nadd.s32 %r2, %r2, 64;\nbar.sync 1, %r2;", 64, &message) == 719);
  CHECK(message.find("different numbers") != std::string::npos);
}

TEST("warp: matrices are loaded by whole warps") {
  const std::string load = ".shared .align 16 .b8 s[128];\nmov.u32 %r2, s;\nst.shared.v4.u32 [%r2], {%r1, %r1, %r1, %r1};\n";
  std::string message;
  CHECK(outcome(load + "setp.ge.u32 %p1, %r1, 16;\n@%p1 exit;\nldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r3}, [%r2];", 32, &message) == 719);
  CHECK(message.find("exited") != std::string::npos);
}

TEST("barrier: reductions of a predicate") {
  Machine m(kernelText(".param .u64 y", elementOf("y", 4) + "setp.lt.u32 %p1, %r1, 40;\nbar.red.popc.u32 %r2, 0, %p1;\nbar.red.or.pred %p2, 0, %p1;\nbar.red.and.pred %p3, 0, !%p1;\n"
                       "selp.b32 %r3, 100, 0, %p2;\nselp.b32 %r4, 1000, 0, %p3;\nadd.s32 %r2, %r2, %r3;\nadd.s32 %r2, %r2, %r4;\nst.global.u32 [%rd2], %r2;"));
  const uint64_t y = m.memory.allocate(256);
  m.run({1}, {64}, 0, y);
  CHECK(m.read<int>(y, 64) == std::vector<int>(64, 140));
}

TEST("run: an endless loop spends the budget, a trap is an error") {
  Machine m(kernelText(".param .u32 n", "LOOP: bra LOOP;"));
  m.options.maxInstructions = 1000;
  CHECK(errorOf([&] { m.run({1}, {32}, 0, 0u); }) == 702);
  CHECK(outcome("setp.eq.s32 %p1, %r1, 3;\n@%p1 trap;", 32) == 715);
}

TEST("run: lanes that diverge in a loop meet again") {
  // The number of rounds is the lane's; afterwards all are together: a vote sees them.
  Machine m(kernelText(".param .u64 y", elementOf("y", 4) + "mov.u32 %r2, 0;\nLOOP:\nadd.s32 %r2, %r2, 1;\nsetp.le.u32 %p1, %r2, %r1;\n@%p1 bra LOOP;\nactivemask.b32 %r3;\n"
                       "popc.b32 %r3, %r3;\nadd.s32 %r2, %r2, %r3;\nst.global.u32 [%rd2], %r2;"));
  const uint64_t y = m.memory.allocate(128);
  m.run({1}, {32}, 0, y);
  const auto got = m.read<int>(y, 32);
  for (int l = 0; l < 32; ++l) CHECK(got[size_t(l)] == l + 1 + 32);
}

TEST("atomic: each operation, old value and new") {
  auto atomic = [](const std::string& op, std::vector<uint32_t> before, uint32_t& old) {
    Machine m(kernelText(".param .u64 x, .param .u64 y", "ld.param.u64 %rd1, [x];\nld.param.u64 %rd2, [y];\natom.global." + op + ";\nst.global.u32 [%rd2], %r1;"));
    const uint64_t x = m.array(before), y = m.memory.allocate(4);
    m.run({1}, {1}, 0, x, y);
    old = m.read<uint32_t>(y, 1)[0];
    return m.read<uint32_t>(x, 1)[0];
  };
  uint32_t old;
  CHECK(atomic("add.u32 %r1, [%rd1], 5", {7}, old) == 12 && old == 7);
  CHECK(atomic("min.s32 %r1, [%rd1], -5", {7}, old) == uint32_t(-5));
  CHECK(atomic("max.u32 %r1, [%rd1], -5", {7}, old) == uint32_t(-5));
  CHECK(atomic("and.b32 %r1, [%rd1], 5", {7}, old) == 5);
  CHECK(atomic("xor.b32 %r1, [%rd1], 5", {7}, old) == 2);
  CHECK(atomic("exch.b32 %r1, [%rd1], 5", {7}, old) == 5 && old == 7);
  CHECK(atomic("cas.b32 %r1, [%rd1], 7, 9", {7}, old) == 9);
  CHECK(atomic("cas.b32 %r1, [%rd1], 6, 9", {7}, old) == 7 && old == 7);
  CHECK(atomic("inc.u32 %r1, [%rd1], 7", {7}, old) == 0);
  CHECK(atomic("dec.u32 %r1, [%rd1], 7", {0}, old) == 7);
  CHECK(atomic("add.f32 %r1, [%rd1], 0f3F800000", {0x40000000}, old) == 0x40400000);
  CHECK(atomic("add.noftz.bf16x2 %r1, [%rd1], 0x3F803F80", {0x40004000}, old) == 0x40404040);
}
