// What nvcc makes of C++, executed by the machine, against the same C++ executed by the processor, and against the bounds that the CUDA
// manual publishes for its mathematics library.
#include <cmath>
#include <fstream>
#include <iterator>

#include "expressions.h"
#include "support.h"

using namespace lantern::simt;
using namespace lantern::simt::test;
using lantern::test::Random;

namespace {

struct Compiled {
  Memory memory;
  std::unique_ptr<Module> module;
  Report report;
  Compiled() {
    std::ifstream file(MACHINE_KERNELS);
    module = Module::load(std::string(std::istreambuf_iterator<char>(file), {}), memory);
  }
  template <class T>
  uint64_t array(const std::vector<T>& x) {
    const uint64_t p = memory.allocate(x.size() * sizeof(T));
    memory.copyIn(p, x.data(), x.size() * sizeof(T));
    return p;
  }
  template <class... Args>
  void run(const std::string& name, uint32_t blocks, const Args&... args) {
    const Kernel& kernel = *module->kernel(name);
    std::vector<std::byte> bytes(kernel.paramBytes);
    size_t at = 0;
    auto put = [&](const auto& a) { std::memcpy(&bytes[kernel.params.at(at++).offset], &a, sizeof a); };
    (put(args), ...);
    launch(kernel, memory, {{blocks}, {128}, 0, bytes}, Options{}, report);
    CHECK(report.findings.empty());
  }
};

// A random number whose bits are anything, or whose exponent is moderate, or that is small and whole.
float anyFloat(Random& r) {
  switch (r.below(3)) {
    case 0: return std::bit_cast<float>(uint32_t(r.next()));
    case 1: return float(r.uniform(-1, 1)) * std::exp2(float(r.below(40) - 20));
    default: return float(r.below(41) - 20);
  }
}
double anyDouble(Random& r) { return r.below(3) ? r.uniform(-1, 1) * std::exp2(double(r.below(80) - 40)) : std::bit_cast<double>(r.next()); }
uint64_t anyInteger(Random& r) { return r.below(2) ? r.next() : uint64_t(r.below(600) - 300); }

double ulpsBetween(float got, double want) {
  const float near = float(want);
  if (want != want || std::isinf(near) || near == 0) {
    const bool same = (got != got && want != want) || got == near || std::fabs(double(got) - want) <= 0x1p-149 * 2;
    return same ? 0 : 1e9;
  }
  const double ulp = std::ldexp(1., std::max(std::ilogb(near), -126) - 23);
  return std::fabs(double(got) - want) / ulp;
}

}  // namespace

TEST("compiled: random expressions give what the processor gives") {
  constexpr int kCount = 512;
  Random random{20};
  std::vector<uint32_t> a(kCount), b(kCount);
  std::vector<uint64_t> c(kCount);
  std::vector<float> x(kCount), y(kCount);
  std::vector<double> z(kCount);
  for (size_t i = 0; i < kCount; ++i) {
    a[i] = uint32_t(anyInteger(random)), b[i] = uint32_t(anyInteger(random)), c[i] = anyInteger(random);
    x[i] = anyFloat(random), y[i] = anyFloat(random), z[i] = anyDouble(random);
  }
  Compiled m;
  const uint64_t out = m.memory.allocate(uint64_t(expressions::kExpressions) * kCount * 8);
  m.run("expressionsKernel", kCount / 128, m.array(a), m.array(b), m.array(c), m.array(x), m.array(y), m.array(z), out, uint64_t(kCount));
  std::vector<uint64_t> got(size_t(expressions::kExpressions) * kCount), want(size_t(expressions::kExpressions));
  CHECK(m.memory.copyOut(got.data(), out, got.size() * 8) == 0);
  for (size_t i = 0; i < kCount; ++i) {
    expressions::evaluate(want.data(), 1, a[i], b[i], c[i], x[i], y[i], z[i]);
    for (size_t e = 0; e < want.size(); ++e) {
      if (got[e * kCount + i] == want[e]) continue;
      char text[200];
      std::snprintf(text, sizeof text, "e%zu(%u, %u, %llu, %a, %a, %a) is %llx, not %llx", e, a[i], b[i], (unsigned long long)c[i], double(x[i]), double(y[i]), z[i],
                    (unsigned long long)got[e * kCount + i], (unsigned long long)want[e]);
      lantern::test::failed(__FILE__, __LINE__, text);
    }
  }
}

TEST("compiled: the mathematics library keeps its published error bounds") {
  struct Function {
    const char* name;
    double (*exact)(double, double);
    double low, high;  // arguments are drawn from here
    double ulps;       // from the correctly rounded result, CUDA C++ Programming Guide, table of single-precision functions; from the exact one
                       // that is half a unit more
  };
  static const Function functions[] = {{"expf", [](double x, double) { return std::exp(x); }, -104, 90, 1},
                                       {"exp2f", [](double x, double) { return std::exp2(x); }, -150, 130, 2},
                                       {"expm1f", [](double x, double) { return std::expm1(x); }, -20, 89, 1},
                                       {"logf", [](double x, double) { return std::log(x); }, 0, 100, 1},
                                       {"log2f", [](double x, double) { return std::log2(x); }, 0, 100, 1},
                                       {"log1pf", [](double x, double) { return std::log1p(x); }, -1, 30, 1},
                                       {"tanhf", [](double x, double) { return std::tanh(x); }, -11, 11, 2},
                                       {"erff", [](double x, double) { return std::erf(x); }, -5, 5, 2},
                                       {"erfcf", [](double x, double) { return std::erfc(x); }, -5, 11, 4},
                                       {"sinf", [](double x, double) { return std::sin(x); }, -200000, 200000, 2},
                                       {"cosf", [](double x, double) { return std::cos(x); }, -200000, 200000, 2},
                                       {"powf", [](double x, double y) { return std::pow(x, y); }, 0, 50, 4},
                                       {"rsqrtf", [](double x, double) { return 1 / std::sqrt(x); }, 0, 1000, 2},
                                       {"cbrtf", [](double x, double) { return std::cbrt(x); }, -1000, 1000, 1},
                                       {"division", [](double x, double y) { return x / y; }, -1000, 1000, 0},
                                       {"sqrtf", [](double x, double) { return std::sqrt(x); }, 0, 1000, 0},
                                       {"fmodf", [](double x, double y) { return std::fmod(x, y); }, -1000, 1000, 0},
                                       {"atanf", [](double x, double) { return std::atan(x); }, -50, 50, 2}};
  constexpr int kCount = 20000, kFunctions = int(std::size(functions));
  Random random{9};
  std::vector<float> x(size_t(kFunctions) * kCount), y(x.size());
  for (size_t f = 0; f < kFunctions; ++f)
    for (size_t i = 0; i < kCount; ++i) {
      const double u = i % 4 == 0 ? std::exp2(random.uniform(-30, 0)) : random.uniform(0, 1);  // and many near zero
      x[f * kCount + i] = float(functions[f].low < 0 && i % 4 == 0 ? (i % 8 ? 1 : -1) * u : functions[f].low + u * (functions[f].high - functions[f].low));
      y[f * kCount + i] = float(random.uniform(-20, 20));
    }
  Compiled m;
  const uint64_t in = m.array(x), second = m.array(y), out = m.memory.allocate(x.size() * 4);
  m.run("libraryKernel", (kCount + 127) / 128, in, second, out, kCount);
  std::vector<float> got(x.size());
  m.memory.copyOut(got.data(), out, got.size() * 4);
  for (size_t f = 0; f < kFunctions; ++f) {
    double worst = 0, at = 0;
    for (size_t i = f * kCount; i < (f + 1) * kCount; ++i) {
      const double error = ulpsBetween(got[i], functions[f].exact(double(x[i]), double(y[i])));
      if (error > worst) worst = error, at = double(x[i]);
    }
    if (worst <= functions[f].ulps + 0.5 + 1e-6) continue;  // the reference has an error of its own
    lantern::test::failed(__FILE__, __LINE__, std::string(functions[f].name) + ": " + std::to_string(worst) + " ulp at " + std::to_string(at));
  }
}
