// A test harness of one page: TEST("name") { CHECK(...); } registers a test, main() runs them all or those whose name holds an argument.
#pragma once
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

namespace lantern::test {

struct Test {
  std::string name;
  std::function<void()> run;
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}
inline int& failures() {  // of the test that runs
  static int count = 0;
  return count;
}

inline void failed(const char* file, int line, const std::string& what) {
  if (++failures() <= 5) std::fprintf(stderr, "  %s:%d: %s\n", file, line, what.c_str());
}

struct Register {
  Register(std::string name, std::function<void()> run) { tests().push_back({std::move(name), std::move(run)}); }
};

// Seeded uniform numbers (splitmix64).
struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t z = (state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  int64_t below(int64_t n) { return int64_t(next() % uint64_t(n)); }
  double uniform(double low, double high) { return low + (high - low) * double(next() >> 11) / double(uint64_t(1) << 53); }
};

}  // namespace lantern::test

#define LANTERN_JOIN2(a, b) a##b
#define LANTERN_JOIN(a, b) LANTERN_JOIN2(a, b)
#define TEST(name)                                                                                                     \
  static void LANTERN_JOIN(test, __LINE__)();                                                                          \
  static const lantern::test::Register LANTERN_JOIN(register, __LINE__){name, LANTERN_JOIN(test, __LINE__)};            \
  static void LANTERN_JOIN(test, __LINE__)()
#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) lantern::test::failed(__FILE__, __LINE__, "not true: " #condition); \
  } while (0)
