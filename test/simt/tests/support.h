// What the machine's tests are written with: a module from PTX text, buffers, launches, and what came of them.
#pragma once
#include <bit>
#include <cstring>
#include <string>
#include <vector>

#include "../../native/harness.h"
#include "machine.h"

namespace lantern::simt::test {

// A module of one kernel `k`. `params` and `body` are PTX; registers are declared: %r, %rs, %f, %rd, %fd, %p, 60 of each.
inline std::string kernelText(const std::string& params, const std::string& body, const std::string& before = "") {
  return ".version 7.0\n.target sm_80\n.address_size 64\n" + before + "\n.visible .entry k(" + params + ")\n{\n" +
         ".reg .pred %p<60>;\n.reg .b16 %rs<60>;\n.reg .b32 %r<60>;\n.reg .f32 %f<60>;\n.reg .b64 %rd<60>;\n.reg .f64 %fd<60>;\n" + body + "\nret;\n}\n";
}
// The usual beginning: %rd1 = the array `x`, %r1 = the thread, %rd2 = the address of its element of `bytes`.
inline std::string elementOf(const std::string& x, int bytes) {
  return "ld.param.u64 %rd1, [" + x + "];\nmov.u32 %r1, %tid.x;\nmul.wide.u32 %rd2, %r1, " + std::to_string(bytes) + ";\nadd.s64 %rd2, %rd1, %rd2;\n";
}

struct Machine {
  Memory memory;
  std::unique_ptr<Module> module;
  Options options;
  Report report;

  explicit Machine(const std::string& ptx) : module(Module::load(ptx, memory)) {}

  template <class T>
  uint64_t array(const std::vector<T>& x, const std::string& label = "x") {
    const uint64_t p = memory.allocate(x.size() * sizeof(T), label);
    memory.copyIn(p, x.data(), x.size() * sizeof(T));
    return p;
  }
  template <class T>
  std::vector<T> read(uint64_t p, size_t n) {
    std::vector<T> x(n);
    memory.copyOut(x.data(), p, n * sizeof(T));
    return x;
  }
  template <class... Args>
  void run(Dim grid, Dim block, uint32_t dynamicShared, const Args&... args) {
    const Kernel& kernel = *this->kernel();
    std::vector<std::byte> bytes(kernel.paramBytes);
    size_t at = 0;
    auto put = [&](const auto& a) { std::memcpy(&bytes[kernel.params.at(at++).offset], &a, sizeof a); };
    (put(args), ...);
    launch(kernel, memory, {grid, block, dynamicShared, bytes}, options, report);
  }
  const Kernel* kernel() const { return module->kernel(module->kernelNames().at(0)); }
  bool found(const std::string& kind) const {
    for (const Finding& f : report.findings)
      if (f.kind == kind) return true;
    return false;
  }
};

// Runs f and gives the code of the Error it throws, 0 for none.
template <class F>
int errorOf(F f, std::string* message = nullptr) {
  try {
    f();
  } catch (const Error& e) {
    if (message) *message = e.what();
    return int(e.code);
  }
  return 0;
}

// 32 lanes: y = the instruction `op` (which writes a register of the result's kind) applied to a, b, c.
template <class R, class... Sources>
std::vector<R> applied(const std::string& body, const std::vector<Sources>&... sources) {
  static const char* const names[] = {"a", "b", "c"};
  std::string params = ".param .u64 y", text;
  auto reg = [](size_t bytes, int n) { return (bytes == 8 ? "%rd" : "%r") + std::to_string(n); };
  text += elementOf("y", sizeof(R)) + "mov.u64 %rd40, %rd2;\n";
  int n = 0;
  auto load = [&](auto zero) {
    constexpr size_t kBytes = sizeof zero;
    params += std::string(", .param .u64 ") + names[n];
    text += elementOf(names[n], kBytes) + "ld.global.u" + std::to_string(8 * kBytes) + " " + reg(kBytes < 4 ? 4 : kBytes, 10 + n) + ", [%rd2];\n";
    ++n;
  };
  (load(Sources()), ...);
  text += body + "\nst.global.u" + std::to_string(8 * sizeof(R)) + " [%rd40], " + reg(sizeof(R), 20) + ";\n";
  Machine m(kernelText(params, text));
  const size_t count = std::max({sources.size()...});
  const uint64_t y = m.memory.allocate(count * sizeof(R), "y");
  const uint32_t threads = uint32_t(count);
  m.run({1}, {threads}, 0, y, m.array(sources)...);
  lantern::test::failures() += int(m.report.findings.size());
  return m.read<R>(y, count);
}

}  // namespace lantern::simt::test
