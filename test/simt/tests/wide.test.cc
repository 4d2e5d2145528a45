// Kernels of all kinds (wideKernels.cu), as nvcc compiles them, against the same on the processor.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <numeric>

#include "support.h"

using namespace lantern::simt;
using namespace lantern::simt::test;
using lantern::test::Random;

namespace {

constexpr int n = 120;  // the last warp has 24 lanes

struct Wide {
  Memory memory;
  std::unique_ptr<Module> module;
  Report report;
  Wide() {
    std::ifstream file(WIDE_KERNELS);
    module = Module::load(std::string(std::istreambuf_iterator<char>(file), {}), memory);
  }
  template <class T>
  uint64_t array(const std::vector<T>& x) {
    const uint64_t p = memory.allocate(x.size() * sizeof(T));
    memory.copyIn(p, x.data(), x.size() * sizeof(T));
    return p;
  }
  template <class T>
  uint64_t room(size_t count) { return memory.allocate(count * sizeof(T)); }
  template <class T>
  std::vector<T> read(uint64_t p, size_t count) {
    std::vector<T> x(count);
    CHECK(memory.copyOut(x.data(), p, count * sizeof(T)) == 0);  // all of it was written
    return x;
  }
  template <class... Args>
  void runAnyway(const std::string& name, const Args&... args) {
    const Kernel& kernel = *module->kernel(name);
    std::vector<std::byte> bytes(kernel.paramBytes);
    size_t at = 0;
    auto put = [&](const auto& a) { std::memcpy(&bytes[kernel.params.at(at++).offset], &a, sizeof a); };
    (put(args), ...);
    launch(kernel, memory, {{1}, {128}, 0, bytes}, Options{}, report);
  }
  template <class... Args>
  void run(const std::string& name, const Args&... args) {
    runAnyway(name, args...);
    for (const Finding& f : report.findings) lantern::test::failed(__FILE__, __LINE__, f.kind + ": " + f.what);
  }
};

std::vector<float> floats(uint64_t seed, double from, double to) {
  Random random{seed};
  std::vector<float> x(n);
  for (float& v : x) v = float(random.uniform(from, to));
  return x;
}
std::vector<int> integers(uint64_t seed, int from, int to) {
  Random random{seed};
  std::vector<int> x(n);
  for (int& v : x) v = int(from + int64_t(random.below(uint64_t(int64_t(to) - from))));
  return x;
}

template <class T>
void expectSame(const char* what, int k, int i, T got, T want) {
  if (got != want)
    lantern::test::failed(__FILE__, __LINE__, std::string(what) + " " + std::to_string(k) + "[" + std::to_string(i) + "] is " + std::to_string(got) + ", not " + std::to_string(want));
}

int choice(int k, int a, int b) {
  const auto byte = [&](int at) { return uint32_t(at < 4 ? uint32_t(a) >> 8 * at : uint32_t(b) >> 8 * (at - 4)) & 255; };
  const auto reversed = [](uint32_t x) {
    uint32_t r = 0;
    for (int i = 0; i < 32; ++i) r |= (x >> i & 1) << (31 - i);
    return r;
  };
  switch (k) {
    case 0: return int(uint32_t(a) + uint32_t(b));
    case 1: return int(uint32_t(a) * uint32_t(b));
    case 2: return a / b;
    case 3: return a % b;
    case 4: return a == 0 ? 32 : __builtin_clz(unsigned(a));
    case 5: return __builtin_popcount(unsigned(b));
    case 6: return int(reversed(uint32_t(a)));
    case 7: return __builtin_ffs(b);
    case 8: return int(byte(2) | byte(4) << 8 | byte(1) << 16 | byte(5) << 24);
    case 9: return int(uint32_t(b) << 7 | uint32_t(a) >> 25);
    default: return a ^ b;
  }
}

}  // namespace

TEST("wide: floats, exact and approximate") {
  Wide m;
  std::vector<float> x = floats(1, -3, 3);
  x[0] = -1, x[1] = NAN, x[2] = 2.5f, x[3] = -0.f;
  const uint64_t out = m.room<float>(8 * n);
  m.run("wideFloats", m.array(x), out, n);
  const std::vector<float> got = m.read<float>(out, 8 * n);
  for (int i = 0; i < n; ++i) {
    CHECK((got[size_t(4 * n + i)] == 1) == std::isnan(x[size_t(i)]));
    if (std::isnan(x[size_t(i)])) continue;
    const float v = x[size_t(i)], want[] = {std::floor(v), std::rint(v), std::fabs(v), std::copysign(v, -1.f)};
    for (int k = 0; k < 4; ++k) CHECK(std::bit_cast<uint32_t>(got[size_t(k * n + i)]) == std::bit_cast<uint32_t>(want[k]));
    CHECK(std::fabs(got[size_t(5 * n + i)] - std::sin(double(v))) < 0x1p-21);
    CHECK(std::fabs(got[size_t(6 * n + i)] - std::log(double(std::fabs(v) + .5f))) < 0x1p-20);
    CHECK(std::fabs(got[size_t(7 * n + i)] - double(v) / 3) <= std::fabs(double(v)) / 3 * 0x1p-22);
  }
}

TEST("wide: votes, matches, reductions and shuffles, also of a warp that is not whole") {
  Wide m;
  const std::vector<int> a = integers(2, -100, 100);
  std::vector<unsigned> u(n);
  for (size_t i = 0; i < n; ++i) u[i] = unsigned(a[i]) * 2654435761u;
  const uint64_t out = m.room<unsigned>(12 * n);
  m.run("wideWarps", m.array(a), m.array(u), out, n);
  const std::vector<unsigned> got = m.read<unsigned>(out, 12 * n);
  for (int i = 0; i < n; ++i) {
    const int begin = i / 32 * 32, end = std::min(n, begin + 32), lane = i - begin;
    unsigned want[12] = {};
    want[3] = 1;
    want[10] = 0;
    for (int j = begin; j < end; ++j) {
      const unsigned bit = 1u << (j - begin);
      const int v = a[size_t(j)];
      want[0] |= bit, want[1] |= v > 0 ? bit : 0, want[2] |= v > 90, want[3] &= v > -200;
      if ((v & 3) == (a[size_t(i)] & 3)) want[4] |= bit;
      want[5] += unsigned(v), want[6] = std::max(want[6], u[size_t(j)]), want[7] ^= u[size_t(j)];
    }
    want[8] = unsigned(a[size_t(begin + 3)]);
    want[9] = unsigned(a[size_t(lane % 8 ? i - 1 : i)]);
    want[10] = unsigned(a[size_t(lane % 8 < 6 ? i + 2 : i)]);
    want[11] = unsigned(a[size_t(begin + (lane ^ 4))]);
    for (int k = 0; k < 12; ++k) expectSame("warp result", k, i, got[size_t(k * n + i)], want[k]);
  }
}

TEST("wide: atomics of every kind, in shared and global memory") {
  Wide m;
  std::vector<float> x(1, 0);
  std::vector<int> ix = {-1000, 0};
  std::vector<unsigned> u = {1000, 0, 0, 0xffffffff, 0, 0, 0, 0};
  std::vector<unsigned long long> l(1, 0);
  std::vector<double> d(1, 0);
  const uint64_t px = m.array(x), pix = m.array(ix), pu = m.array(u), pl = m.array(l), pd = m.array(d), exchanged = m.room<unsigned>(n);
  m.run("wideAtomics", px, pix, pu, pl, pd, exchanged, n);
  x = m.read<float>(px, 1), ix = m.read<int>(pix, 2), u = m.read<unsigned>(pu, 8), l = m.read<unsigned long long>(pl, 1), d = m.read<double>(pd, 1);
  constexpr int kSum = n * (n - 1) / 2;
  int largest = -1000;
  unsigned swapped = 0, flipped = 0, down = 0;
  for (int i = 0; i < n; ++i) {
    largest = std::max(largest, i * 37 % 101 - 50), swapped = std::max(swapped, unsigned(i * 29 % 113)), flipped ^= 1u << i % 7;
    down = down == 0 || down > 10 ? 10 : down - 1;
  }
  CHECK(x[0] == kSum && d[0] == kSum / 4. && l[0] == (5ull << 32) * n && ix[0] == largest && ix[1] == kSum);
  CHECK(u[0] == 500 - (n - 1) && u[1] == swapped && u[3] == 0xffff0000 && u[4] == 0xffffff && u[5] == n % 7 && u[6] == flipped && u[7] == down);
  std::vector<unsigned> seen = m.read<unsigned>(exchanged, n);  // everybody received what somebody left, and the last is still there
  seen.push_back(u[2]);
  std::sort(seen.begin(), seen.end());
  for (unsigned i = 0; i <= n; ++i) CHECK(seen[i] == i);
}

TEST("wide: atomics of bf16 add what they should; that the toolkit begins them with a plain load is found") {
  Wide m;
  const uint64_t p = m.array(std::vector<uint16_t>(4, 0));
  m.runAnyway("wideHalfAtomics", p, n);
  const std::vector<uint16_t> h = m.read<uint16_t>(p, 4);
  const auto value = [&](size_t i) { return std::bit_cast<float>(uint32_t(h[i]) << 16); };
  CHECK(value(0) == n && value(2) == n && value(3) == 2 * n);
  CHECK(!m.report.findings.empty());
  for (const Finding& f : m.report.findings) CHECK(f.kind == "global race" && f.what.find("cuda_bf16.hpp") != std::string::npos);
}

TEST("wide: integers of 32 bits, by a branch table") {
  Wide m;
  std::vector<int> a = integers(3, -2000000000, 2000000000), b = integers(4, -2000, 2000);
  a[0] = 0;
  for (int& v : b) v += v == 0;
  constexpr int kChoices = 11;
  const uint64_t out = m.room<int>((kChoices + 7) * n);
  m.run("wideIntegers", m.array(a), m.array(b), out, kChoices, n);
  const std::vector<int> got = m.read<int>(out, (kChoices + 7) * n);
  for (int i = 0; i < n; ++i) {
    const int x = a[size_t(i)], y = b[size_t(i)];
    for (int k = 0; k < kChoices; ++k) expectSame("choice", k, i, got[size_t(k * n + i)], choice(k, x, y));
    int dot = 3;
    uint32_t sums = 0;
    for (int j = 0; j < 4; ++j) {
      const uint32_t p = uint32_t(x) >> 8 * j & 255, q = uint32_t(y) >> 8 * j & 255;
      dot += int(int8_t(p)) * int(int8_t(q)), sums |= ((p + q) & 255) << 8 * j;
    }
    const int want[] = {dot, int(int64_t(x) * y >> 32), std::min(x, y), std::max(x, y), std::abs(x), int(std::abs(int64_t(x) - y) + 3), int(sums)};
    for (int k = 0; k < 7; ++k) expectSame("integer", k, i, got[size_t((kChoices + k) * n + i)], want[k]);
  }
}

TEST("wide: integers and floats of 64 bits") {
  Wide m;
  Random random{5};
  std::vector<long long> l(n);
  std::vector<double> d(n);
  for (size_t i = 0; i < n; ++i) l[i] = static_cast<long long>(random.next()) >> i % 40, d[i] = random.uniform(0, 1e6);
  constexpr int k = 1234567;
  const uint64_t outL = m.room<long long>(4 * n), outD = m.room<double>(2 * n);
  m.run("wideDoubles", m.array(l), m.array(d), outL, outD, k, n);
  const auto gotL = m.read<long long>(outL, 4 * n);
  const auto gotD = m.read<double>(outD, 2 * n);
  for (size_t i = 0; i < n; ++i) {
    CHECK(gotL[i] == l[i] / (k + 1) && gotL[n + i] == l[i] % (k + 2));
    CHECK(gotL[2 * n + i] == static_cast<long long>(static_cast<unsigned __int128>(static_cast<unsigned long long>(l[i])) * 0x123456789abcdefull >> 64));
    CHECK(gotL[3 * n + i] == static_cast<long long>(d[i]) % 7);
    CHECK(gotD[i] == std::sqrt(d[i]) * 3 && gotD[n + i] == std::fma(d[i], 2., 1.) / (1 + d[i]));
  }
}

TEST("wide: arrays on the stack, and calls") {
  Wide m;
  const std::vector<float> x = floats(6, -2, 2);
  const std::vector<int> at = integers(7, 0, 50);
  constexpr int k = 9;
  const uint64_t out = m.room<float>(2 * n);
  m.run("wideLocal", m.array(x), m.array(at), out, k, n);
  const auto got = m.read<float>(out, 2 * n);
  for (size_t i = 0; i < n; ++i) {
    float local[16], a = 1;
    for (size_t j = 0; j < 16; ++j) local[j] = x[(i + j) % n];
    for (int j = 0; j < k; ++j) local[(at[i] + j) & 15] += float(j), a = a * x[i] + float(j);
    CHECK(got[i] == local[at[i] & 15] && got[n + i] == a);
  }
}

TEST("wide: bf16, f16 and fp8") {
  Wide m;
  const std::vector<float> x = floats(8, -4, 4), y = floats(9, -4, 4);
  const uint64_t out = m.room<uint16_t>(16 * n);
  m.run("wideHalves", m.array(x), m.array(y), out, n);
  const auto got = m.read<uint16_t>(out, 16 * n);
  const auto bits = [](double v) { return __bfloat16_as_ushort(__double2bfloat16(v)); };  // exact sums and products, rounded once
  for (size_t i = 0; i < n; ++i) {
    const double a = __bfloat162float(__float2bfloat16(x[i])), b = __bfloat162float(__float2bfloat16(y[i]));
    const __half f = __float2half(x[i]), g = __float2half(y[i]);
    const double s = __half2float(f), t = __half2float(g);
    const __nv_fp8_storage_t eight = __nv_cvt_float_to_fp8(x[i], __NV_SATFINITE, __NV_E4M3);
    const uint16_t want[] = {bits(a * b + a), bits(std::max(a, b)), 0, bits(a * b + a), bits(a * b + b), bits(a * a), bits(b * b), bits(std::max(a, b)),
                             bits(std::max(a, b)), bits(a + b), bits(a + b), __half_as_ushort(__double2half(s + t)), __half_as_ushort(__double2half(s * t)),
                             uint16_t(s < t), uint16_t(eight), __half_raw(__nv_cvt_fp8_to_halfraw(eight, __NV_E4M3)).x};
    for (size_t k = 0; k < 16; ++k)
      if (k != 2) expectSame("half", int(k), int(i), got[k * n + i], want[k]);
    const double e = std::bit_cast<float>(uint32_t(got[2 * n + i]) << 16);
    CHECK(std::fabs(e / std::exp(a) - 1) < 0x1p-7);
  }
}

TEST("wide: conversions") {
  Wide m;
  const std::vector<float> x = floats(10, -1e6, 1e6);
  const std::vector<int> a = integers(11, -2000000, 2000000);
  const uint64_t out = m.room<unsigned>(7 * n);
  m.run("wideConversions", m.array(x), m.array(a), out, n);
  const auto got = m.read<unsigned>(out, 7 * n);
  for (size_t i = 0; i < n; ++i) {
    const float v = std::fabs(x[i]);
    const unsigned want[] = {unsigned(std::nearbyint(v)), unsigned(v), unsigned(int(std::floor(x[i]))), unsigned(int(int8_t(a[i]))), uint16_t(a[i]),
                             std::bit_cast<uint32_t>(float(unsigned(a[i]))), unsigned(static_cast<unsigned long long>(v))};
    for (size_t k = 0; k < 7; ++k) expectSame("conversion", int(k), int(i), got[k * n + i], want[k]);
  }
}

TEST("wide: cache hints and clocks; assertions, traps and printing are errors") {
  Wide m;
  std::vector<float> x = floats(12, -1, 1);
  const uint64_t in = m.array(x), out = m.room<float>(2 * n);
  m.run("wideHints", in, out, 3, n);
  const auto got = m.read<float>(out, 2 * n);
  for (size_t i = 0; i < n; ++i) CHECK(got[i] == x[i] + x[(i + 1) % n] + x[(i + 2) % n] && got[n + i] == 1);
  std::string message;
  CHECK(errorOf([&] { m.run("wideHints", in, out, 100, n); }, &message) == int(Result::assertion) && message.find("k < 100") != std::string::npos);
  x[5] = NAN;
  CHECK(errorOf([&] { m.run("wideHints", m.array(x), out, 3, n); }) != 0);
  m.run("widePrint", 0);
  CHECK(errorOf([&] { m.run("widePrint", 1); }, &message) == int(Result::illegalInstruction) && message.find("printf") != std::string::npos);
}
