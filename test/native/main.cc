// Runs the native tests: all of them, or those whose name holds the first argument.
#include "kernelTest.h"

namespace {

// A kernel that no test ran is a kernel without a native test.
bool everyKernelRan() {
  bool all = true;
  for (const auto& set : lantern::dispatch().sets)
    for (int i = 0; set.supported && i < set.kernelCount; ++i)
      if (!lantern::test::Runner::ran().count(std::string(set.name) + " " + set.kernels[i].name)) {
        std::fprintf(stderr, "  no test runs %s (%s)\n", set.kernels[i].name, set.name);
        all = false;
      }
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace lantern::test;
  const char* wanted = argc > 1 ? argv[1] : "";
  int passed = 0, bad = 0;
  for (const Test& test : tests()) {
    if (test.name.find(wanted) == std::string::npos) continue;
    failures() = 0;
    test.run();
    if (failures()) {
      ++bad;
      std::fprintf(stderr, "FAILED %s (%d checks)\n", test.name.c_str(), failures());
    } else {
      ++passed;
    }
  }
  if (!*wanted) ++(everyKernelRan() ? passed : bad);
  std::printf("%d passed, %d failed\n", passed, bad);
  return bad || !passed ? 1 : 0;
}
