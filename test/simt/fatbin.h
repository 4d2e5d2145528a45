// Reads what nvcc leaves in a binary: the fatbin container (PTX text and one cubin per architecture) and what a cubin says about its
// kernels' resources. The layouts are not published; they were read off the bytes of nvcc 13 and are checked by tests against ptxas -v.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace lantern::simt {

// What ptxas made of one kernel.
struct Resources {
  uint32_t registers = 0;     // per thread
  uint32_t staticShared = 0;  // bytes
  uint32_t stackBytes = 0;    // per thread: spills, and arrays that are not in registers
  uint32_t maxThreads = 0;    // from __launch_bounds__; 0: not stated
};

struct Cubin {
  int architecture = 0;  // 80 for sm_80
  std::map<std::string, Resources> kernels;
};

struct Fatbin {
  std::string ptx;  // empty: none embedded
  int ptxArchitecture = 0;
  std::vector<Cubin> cubins;

  // Any image that cuModuleLoadData takes: a fatbin, the wrapper around one that nvcc puts in host code, or PTX text. Throws Error
  // (invalidPtx: not one of these; unsupportedPtxVersion: compressed).
  static Fatbin read(const void* image);
  // The cubin that a device of this capability runs: of the same major version and the highest minor version it has; nullptr: none.
  const Cubin* cubinFor(int capability) const;
};

// The elf image of a cubin. Throws Error invalidPtx if it is none.
Cubin readCubin(std::string_view elf);

// All fatbins inside a file, by their magic number: a fatbin file, or a library that has some embedded.
std::vector<Fatbin> fatbinsOf(std::string_view file);

}  // namespace lantern::simt
