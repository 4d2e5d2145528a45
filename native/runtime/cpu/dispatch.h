// Which instruction set the CPU kernels use: the best one this processor has, or a lower one named by LANTERN_CPU=avx512bf16|avx512|avx2|portable.
#pragma once
#include <string>
#include <vector>

#include "../../kernels/common/kernel.h"

namespace lantern {

struct InstructionSet {
  const char* name;
  const Kernel* kernels;
  int kernelCount;
  bool supported;    // by this processor
  std::string why;   // what is missing when it is not
};

struct Dispatch {
  std::vector<InstructionSet> sets;     // best first, those compiled in
  const InstructionSet* chosen = nullptr;
  std::string reason;                   // why `chosen`, for `lantern doctor`
};

// Decided once, at the first call.
const Dispatch& dispatch();
std::string processorName();

}  // namespace lantern
