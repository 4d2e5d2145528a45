// Loading modules: what is refused, what a kernel declares, calls, tables, variables.
#include "support.h"

using namespace lantern::simt;
using namespace lantern::simt::test;

namespace {

// The message of the refusal, or "" if the body loads.
std::string refusal(const std::string& body, const std::string& params = "") {
  std::string message;
  Memory memory;
  const int code = errorOf([&] { Module::load(kernelText(params, body), memory); }, &message);
  return code == 0 ? "" : code == 218 ? message : "another code";
}
bool refuses(const std::string& body, const std::string& part) { return refusal(body).find(part) != std::string::npos; }

}  // namespace

TEST("load: what is unknown is refused by name and line") {
  CHECK(refusal("add.s32 %r1, %r2, %r3;").empty());
  CHECK(refuses("wgmma.fence.sync.aligned;", "wgmma"));
  CHECK(refuses("add.s32.fast %r1, %r2, %r3;", "line 13"));
  CHECK(refuses("add.zap.s32 %r1, %r2, %r3;", "zap"));
  CHECK(refuses("add.s32 %r1, %r2;", "operands"));
  CHECK(refuses("add.s32 %rd1, %r2, %r3;", "size"));
  CHECK(refuses("add.s64 %rd1, %r2, %rd3;", "size"));
  CHECK(refuses("mov.u32 %r1, nowhere;", "nowhere"));
  CHECK(refuses("bra NOWHERE;", "NOWHERE"));
  CHECK(refuses("mov.u32 %r1, %pm0;", "%pm0"));
  CHECK(refuses("ld.global.v4.u64 {%rd1, %rd2, %rd3, %rd4}, [%rd5];", "16 bytes"));
  CHECK(refuses("setp.lo.u32 %r1, %r2, %r3;", "predicate"));
  CHECK(refuses("cvt.rn.f32.s32.sat.what %f1, %r1;", "what"));
  Memory memory;
  CHECK(errorOf([&] { Module::load("nonsense", memory); }) == 218);
  CHECK(memory.blocks().empty());
}

TEST("load: parameters, shared memory and bounds of a kernel") {
  Memory memory;
  auto m = Module::load(".version 7.0\n.target sm_80\n.address_size 64\n.extern .shared .align 16 .b8 dyn[];\n"
                        ".visible .entry k(.param .u8 a, .param .align 8 .b8 b[24], .param .f32 c)\n.maxntid 128, 2, 1\n.minnctapersm 3\n{\n"
                        ".shared .align 4 .b8 s[12];\n.shared .align 16 .b8 t[16];\n.reg .b32 %r<4>;\nmov.u32 %r1, s;\nmov.u32 %r2, t;\nmov.u32 %r3, dyn;\nret;\n}\n",
                        memory);
  const Kernel& k = *m->kernel("k");
  CHECK(k.params.size() == 3 && k.params[1].offset == 8 && k.params[2].offset == 32 && k.paramBytes == 36);
  CHECK(k.staticShared == 32 && k.maxThreads == 256 && k.minBlocks == 3);
  CHECK(m->kernel("other") == nullptr);
}

TEST("load: variables hold their initial values and are freed with the module") {
  Memory memory;
  {
    auto m = Module::load(".version 7.0\n.target sm_80\n.address_size 64\n.global .align 4 .u32 table[4] = {1, 2, 3};\n.global .align 8 .u64 to = table;\n", memory);
    uint32_t table[4];
    uint64_t to;
    memory.copyOut(table, m->variable("table")->address, 16);
    memory.copyOut(&to, m->variable("to")->address, 8);
    CHECK(table[0] == 1 && table[2] == 3 && table[3] == 0 && to == m->variable("table")->address);
    CHECK(memory.blocks().size() == 2 && memory.blocks()[0].global);
    CHECK(errorOf([&] { memory.free(to); }) == 1);
  }
  CHECK(memory.blocks().empty());
}

TEST("load: functions are inlined, with their parameters, results and local arrays") {
  const std::string twice =
      ".func (.param .b32 out) twice(.param .b32 in)\n{\n.reg .b32 %r<4>;\n.reg .b64 %d<3>;\n.reg .pred %p<2>;\n.local .align 4 .b8 depot[8];\n"
      "ld.param.u32 %r1, [in];\nsetp.eq.s32 %p1, %r1, 3;\n@%p1 bra SKIP;\nmov.u64 %d1, depot;\nst.local.u32 [%d1+4], %r1;\nld.local.u32 %r2, [%d1+4];\n"
      "add.s32 %r1, %r1, %r2;\nSKIP:\nst.param.b32 [out], %r1;\nret;\n}\n";
  const std::string call = "{\n.param .b32 p0;\nst.param.b32 [p0], %r5;\n.param .b32 r0;\ncall.uni (r0), twice, (p0);\nld.param.b32 %r5, [r0];\n}\n";
  Machine m(kernelText(".param .u64 y", elementOf("y", 4) + "mov.u32 %r5, %r1;\n" + call + call + "st.global.u32 [%rd2], %r5;", twice));
  const uint64_t y = m.memory.allocate(128);
  m.run({1}, {32}, 0, y);
  const auto got = m.read<int>(y, 32);
  for (int l = 0; l < 32; ++l) CHECK(got[size_t(l)] == (l == 3 ? 3 : 4 * l));
  CHECK(m.report.total.divergent == 2);  // lane 3 skips in both calls
  CHECK(refuses("call.uni missing, (%r1);", "missing"));
}

TEST("load: branches by table") {
  Machine m(kernelText(".param .u64 y", elementOf("y", 4) + "and.b32 %r2, %r1, 3;\nT: .branchtargets A, B, C;\nsetp.eq.s32 %p1, %r2, 3;\nmov.u32 %r3, 7;\n@%p1 bra END;\n"
                       "brx.idx %r2, T;\nA: mov.u32 %r3, 10;\nbra END;\nB: mov.u32 %r3, 11;\nbra END;\nC: mov.u32 %r3, 12;\nEND:\nst.global.u32 [%rd2], %r3;"));
  const uint64_t y = m.memory.allocate(128);
  m.run({1}, {32}, 0, y);
  const auto got = m.read<int>(y, 32);
  for (int l = 0; l < 32; ++l) CHECK(got[size_t(l)] == (l % 4 == 3 ? 7 : 10 + l % 4));
  Machine beyond(kernelText(".param .u32 n", "mov.u32 %r1, 2;\nT: .branchtargets A, B;\nbrx.idx %r1, T;\nA: mov.u32 %r3, 10;\nB: mov.u32 %r3, 11;"));
  CHECK(errorOf([&] { beyond.run({1}, {32}, 0, 0u); }) == 715);
}

TEST("launch: limits") {
  Machine m(kernelText(".param .u32 n", ""));
  auto code = [&](Dim grid, Dim block) { return errorOf([&] { m.run(grid, block, 0, 1u); }); };
  CHECK(code({1}, {1024}) == 0);
  CHECK(code({1}, {1025}) == 1);
  CHECK(code({1}, {1, 1, 65}) == 1);
  CHECK(code({0}, {32}) == 1);
  CHECK(code({1, 65536}, {32}) == 1);
  Machine bounded(".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u32 n)\n.maxntid 64, 1, 1\n{\nret;\n}\n");
  CHECK(errorOf([&] { bounded.run({1}, {64}, 0, 1u); }) == 0);
  CHECK(errorOf([&] { bounded.run({1}, {96}, 0, 1u); }) == 1);
}
