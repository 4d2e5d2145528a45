#include "dispatch.h"

#include <cstdlib>
#include <fstream>

namespace lantern {

#define LANTERN_TABLE(isa)              \
  namespace isa {                       \
  extern const Kernel kKernels[];       \
  extern const int kKernelCount;        \
  }
LANTERN_TABLE(portable)
#ifdef LANTERN_X86
LANTERN_TABLE(avx2)
#ifndef LANTERN_NO_AVX512
LANTERN_TABLE(avx512)
LANTERN_TABLE(avx512bf16)
#endif
#endif

namespace {

struct Need {
  bool has;
  const char* name;
};

std::string missing(std::initializer_list<Need> needs) {
  std::string list;
  for (const Need& n : needs)
    if (!n.has) list += (list.empty() ? "" : ", ") + std::string(n.name);
  return list.empty() ? list : "the processor lacks " + list;
}

// Fills in place (no copy): `chosen` points into `sets`.
struct Decided : Dispatch {
  Decided();
};

Decided::Decided() {
  Dispatch& d = *this;
#ifdef LANTERN_X86
  __builtin_cpu_init();
#define LANTERN_NEED(feature) Need{bool(__builtin_cpu_supports(feature)), feature}
#ifndef LANTERN_NO_AVX512
  const std::string no512 = missing({LANTERN_NEED("avx512f"), LANTERN_NEED("avx512bw"), LANTERN_NEED("avx512dq"), LANTERN_NEED("avx512vl")});
  const std::string noBf16 = no512.empty() ? missing({LANTERN_NEED("avx512bf16")}) : no512;
  d.sets.push_back({"avx512bf16", avx512bf16::kKernels, avx512bf16::kKernelCount, noBf16.empty(), noBf16});
  d.sets.push_back({"avx512", avx512::kKernels, avx512::kKernelCount, no512.empty(), no512});
#endif
  const std::string no2 = missing({LANTERN_NEED("avx2"), LANTERN_NEED("fma")});
  d.sets.push_back({"avx2", avx2::kKernels, avx2::kKernelCount, no2.empty(), no2});
#endif
  d.sets.push_back({"portable", portable::kKernels, portable::kKernelCount, true, ""});

  const char* forced = std::getenv("LANTERN_CPU");
  for (const auto& set : d.sets) {
    if (forced && *forced && std::string(forced) != set.name) continue;
    if (!set.supported) {
      if (forced && *forced) d.reason = "LANTERN_CPU=" + std::string(forced) + " is not possible: " + set.why + "; ";
      continue;
    }
    d.chosen = &set;
    d.reason += forced && *forced ? "forced by LANTERN_CPU" : "the best one this processor has";
    return;
  }
  for (const auto& set : d.sets)
    if (set.supported) {
      d.chosen = &set;
      if (d.reason.empty()) d.reason = "LANTERN_CPU=" + std::string(forced) + " names no instruction set; ";
      d.reason += "using the best one this processor has";
      return;
    }
}

}  // namespace

const Dispatch& dispatch() {
  static const Decided d;
  return d;
}

std::string processorName() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown";
}

}  // namespace lantern
