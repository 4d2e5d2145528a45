// What the LANTERN_SIMT_* environment variables say (README.md lists them). The product knows nothing of them: it opens a driver.
#pragma once
#include <map>
#include <set>
#include <string>

#include "machine.h"

namespace lantern::simt {

// When work that lies in streams runs. late: when somebody waits for it, and only what that wait needs. eager: as soon as it is enqueued.
// random: at the waits, and more than they need.
enum class Order { late, random, eager };

// Of the events of a kind, counted from 1, the n-th to the last are hit.
struct Nth {
  uint64_t n = 0, last = 0;  // 0: none
  bool hits(uint64_t count) const { return n && count >= n && count <= last; }
};

struct Faults {
  Nth allocation;      // of device memory: out of memory
  Nth hostAllocation;  // of pinned host memory: out of memory
  Nth launch;          // is refused
  Nth execution;       // of a kernel: fails, and the context with it
  uint64_t lose = 0;   // the device is lost at this driver call
  std::set<std::string> hidden;  // entry points the driver does not have
};

struct Environment {
  Options options;  // of launches
  Order order = Order::late;
  uint64_t seed = 0;
  bool failOnFindings = true;
  bool leaksAreFindings = false;  // also of contexts that are alive when the process ends
  std::string report;             // prefix of the files that are written at exit; empty: none
  bool logErrors = true, logCalls = false;  // to stderr
  int devices = 1;
  int capability = 80;
  uint64_t memory = uint64_t(8) << 30;  // bytes of each device
  int driverVersion = 13000;
  bool memoryPools = true;
  Faults faults;
  std::map<std::string, std::string> replacements;  // PTX text to run instead of a module's own, by what its kernels' names begin with

  // Throws std::invalid_argument that names the variable: a misspelt option must not turn a check off.
  static Environment read();
};

}  // namespace lantern::simt
