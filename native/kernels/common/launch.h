// What the launchers of CUDA kernels share: entry points by dtype, and the error of a dtype that none has.
#pragma once
#include <initializer_list>
#include <string>

#include "../../runtime/cuda/context.h"
#include "kernel.h"

namespace lantern::cuda {

// "rmsNorm_forward" and dtypes: "rmsNorm_forwardF32Bf16". Empty when one is neither float32 nor bfloat16.
inline std::string entryOf(const char* stem, std::initializer_list<int64_t> dtypes) {
  std::string name = stem;
  for (const int64_t dtype : dtypes) {
    if (dtype != kFloat32 && dtype != kBfloat16) return {};
    name += dtype == kFloat32 ? "F32" : "Bf16";
  }
  return name;
}

inline Status unknownDType() { return Status::error(Code::invalidArgument, "kernel called with a dtype that is neither float32 nor bfloat16"); }

inline Status noWorkspace(const char* op) {
  return Status::error(Code::outOfMemory,
                       std::string(op) + ": no device memory for intermediate results; use smaller batches, or dispose of tensors");
}

}  // namespace lantern::cuda
