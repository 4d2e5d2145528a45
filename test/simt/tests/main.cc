// Runs the machine's own tests: all of them, or those whose name holds the first argument.
#include "../../native/harness.h"

int main(int argc, char** argv) {
  using namespace lantern::test;
  const char* wanted = argc > 1 ? argv[1] : "";
  int passed = 0, bad = 0;
  for (const Test& test : tests()) {
    if (test.name.find(wanted) == std::string::npos) continue;
    failures() = 0;
    try {
      test.run();
    } catch (const std::exception& e) {
      failed(test.name.c_str(), 0, std::string("threw: ") + e.what());
    }
    if (!failures()) {
      ++passed;
      continue;
    }
    ++bad;
    std::fprintf(stderr, "FAILED %s (%d checks)\n", test.name.c_str(), failures());
  }
  std::printf("%d passed, %d failed\n", passed, bad);
  return bad || !passed ? 1 : 0;
}
