// cp.async lands at the wait, and belongs to the copy until then.
#include "support.h"

using namespace lantern::simt;
using namespace lantern::simt::test;

namespace {

// 64 threads copy 16 bytes each to shared memory; `wait`; the block meets; each loads a word of its neighbour's and stores it.
std::unique_ptr<Machine> copying(const std::string& wait, const std::string& size = "16", bool barrier = true) {
  auto m = std::make_unique<Machine>(kernelText(
      ".param .u64 x, .param .u64 y", ".shared .align 16 .b8 s[1024];\n" + elementOf("x", 16) + "mov.u32 %r2, s;\nshl.b32 %r3, %r1, 4;\nadd.s32 %r3, %r2, %r3;\n"
                                      "cp.async.cg.shared.global [%r3], [%rd2], 16, " + size + ";\ncp.async.commit_group;\n" + wait + (barrier ? "bar.sync 0;\n" : "") +
                                      "xor.b32 %r4, %r3, 16;\nld.shared.u32 %r5, [%r4+4];\n" + elementOf("y", 4) + "st.global.u32 [%rd2], %r5;"));
  std::vector<int> x(256);
  for (int i = 0; i < 256; ++i) x[size_t(i)] = i;
  const uint64_t from = m->array(x), to = m->memory.allocate(256, "y");
  m->run({1}, {64}, 0, from, to);
  return m;
}
std::vector<int> results(Machine& m) { return m.read<int>(m.memory.blocks().back().address, 64); }

}  // namespace

TEST("async: a copy that is waited for arrives") {
  for (const char* wait : {"cp.async.wait_group 0;\n", "cp.async.wait_all;\n"}) {
    auto m = copying(wait);
    CHECK(m->report.findings.empty());
    for (int t = 0; t < 64; ++t) CHECK(results(*m)[size_t(t)] == 4 * (t ^ 1) + 1);
  }
}

TEST("async: one that is not waited for has not arrived, and is found") {
  for (const char* wait : {"", "cp.async.wait_group 1;\n"}) {
    auto m = copying(wait);
    CHECK(m->found("async copy"));
    CHECK(results(*m)[0] == -1);
  }
  CHECK(copying("cp.async.wait_group 0;\n", "16", false)->found("shared race"));  // waiting is for the thread alone
}

TEST("async: what the source does not fill is zero") {
  auto m = copying("cp.async.wait_all;\n", "4");
  CHECK(m->report.findings.empty() && results(*m)[0] == 0);
  CHECK(m->report.total.bytesRead == 64 * 16);  // whole sectors are asked for
  auto none = copying("cp.async.wait_all;\n", "0");
  CHECK(none->report.findings.empty() && results(*none)[0] == 0);
}

TEST("async: a buffer is not to be overwritten while others read it") {
  auto text = [](const std::string& barrier) {
    return kernelText(".param .u64 x", ".shared .align 16 .b8 s[1024];\n" + elementOf("x", 16) + "mov.u32 %r2, s;\nshl.b32 %r3, %r1, 4;\nadd.s32 %r3, %r2, %r3;\n"
                      "st.shared.u32 [%r3], %r1;\nbar.sync 0;\nxor.b32 %r4, %r3, 512;\nld.shared.u32 %r5, [%r4];\n" + barrier +
                      "cp.async.cg.shared.global [%r3], [%rd2], 16;\ncp.async.wait_all;");
  };
  Machine racy(text("")), fine(text("bar.sync 0;\n"));
  const std::vector<int> x(256, 1);
  racy.run({1}, {64}, 0, racy.array(x));
  fine.run({1}, {64}, 0, fine.array(x));
  CHECK(racy.found("shared race") && fine.report.findings.empty());
}

TEST("async: until its wait a copy's bytes are not even the copying thread's own") {
  auto found = [](const std::string& before, const std::string& after = "") {
    Machine m(kernelText(".param .u64 x", ".shared .align 16 .b8 s[16];\nld.param.u64 %rd1, [x];\ncp.async.cg.shared.global [s], [%rd1], 16;\n" + before +
                                            "cp.async.wait_all;\n" + after));
    m.run({1}, {1}, 0, m.array(std::vector<int>(4, 1)));
    return m.report.findings.empty() ? "" : m.report.findings[0].kind + ": " + m.report.findings[0].what;
  };
  CHECK(found("", "ld.shared.u32 %r1, [s];\nst.shared.u32 [s], %r1;\n").empty());
  CHECK(found("ld.shared.u32 %r1, [s];\n").starts_with("async copy: read"));
  CHECK(found("st.shared.u32 [s], 1;\n").starts_with("async copy: write"));
}

TEST("async: a block does not end before its copies, which are aligned and read no more than they write") {
  auto machine = [](const std::string& copy) {
    return std::make_unique<Machine>(kernelText(".param .u64 x", ".shared .align 16 .b8 s[16];\nld.param.u64 %rd1, [x];\nmov.u32 %r1, s;\ncp.async.ca.shared.global " + copy));
  };
  auto outcome = [&](const std::string& copy) {
    auto m = machine(copy);
    const uint64_t x = m->array(std::vector<int>(16, 1));
    const int code = errorOf([&] { m->run({1}, {1}, 0, x); });
    return code ? code : int(m->found("async copy"));
  };
  const std::string wait = "cp.async.wait_all;";
  CHECK(outcome("[%r1], [%rd1], 16, 16;\n" + wait) == 0);
  CHECK(outcome("[%r1], [%rd1], 16, 16;\n") == 1);
  CHECK(outcome("[%r1], [%rd1], 16, 20;\n" + wait) == 715);
  CHECK(outcome("[%r1], [%rd1+4], 16, 16;\n" + wait) == 716);
  CHECK(outcome("[%r1], [%rd1+4], 16, 4;\n" + wait) == 716);
}
