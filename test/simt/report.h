// What a process did on the simulated device: per kernel what its launches counted, per source line, per shape of launch; what the compiler
// made of it; findings. As JSON for tests and benches, as a table for people. The counts are of the PTX in the machine's model, exact and
// repeatable; they are not measurements of a GPU.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "fatbin.h"
#include "gpu.h"
#include "machine.h"

namespace lantern::simt {

class Reports {
 public:
  void loaded(const Fatbin& fatbin, const Module& module);
  void launched(const Report& report);
  void called(const char* entry);  // a driver entry point
  void found(const std::string& kind, const std::string& what);  // by the driver; what a launch found is in its report
  void failed(const std::string& what);                          // a launch that ended in an error
  void note(const std::string& name, const std::string& value);  // a setting
  void alive(const std::string& what);                           // what was never freed when the process ended

  uint64_t findings() const;  // of any kind
  std::string json() const;
  std::string table() const;
  void clear();  // all but what is loaded

 private:
  struct Sum {  // over launches
    uint64_t launches = 0;
    Counters counters;
    uint64_t barriers = 0, multiplyAdds = 0, footprintRead = 0, footprintWritten = 0;
    uint64_t issuesByClass[kInstructionClasses] = {};
    double worstSectors = 0, worstWavefronts = 0;  // of one launch, against the ideal
    void add(const Report& report);
  };
  using Shape = std::tuple<uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t>;  // grid, block, dynamic shared
  struct OfKernel {
    Sum total;
    uint32_t maxThreads = 0, localBytes = 0;
    std::map<int, Resources> resources;  // by architecture
    std::map<Shape, Sum> shapes;
    std::shared_ptr<const Program> program;  // of the latest launches,
    std::vector<Counters> counters;          // and what they counted, by instruction
    std::map<std::pair<std::string, uint32_t>, Counters> lines;  // of earlier programs
    std::map<std::pair<std::string, uint32_t>, Counters> allLines() const;
    std::map<std::tuple<std::string, std::string, uint32_t>, Finding> findings;  // by kind, file, line
  };
  struct OfModule {
    std::vector<std::string> kernels;
    std::vector<int> architectures;
    int ptxArchitecture = 0;
    uint64_t loads = 0;
  };

  friend class ReportWriter;
  mutable std::mutex mutex_;
  std::map<std::string, OfKernel> kernels_;
  std::map<std::string, OfModule> modules_;  // by its first kernel
  std::map<std::string, uint64_t> calls_;
  std::map<std::string, std::string> notes_;
  std::map<std::pair<std::string, std::string>, uint64_t> findings_;
  std::vector<std::string> alive_, errors_;
};

}  // namespace lantern::simt
