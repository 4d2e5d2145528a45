// From a dtype in a parameter struct to a C++ type.
#pragma once
#include "kernel.h"
#include "simd.h"

namespace lantern::LANTERN_ISA {

// fn(T{}) with T = float or bf16.
template <class F>
Status forType(int64_t dtype, F&& fn) {
  if (dtype == kFloat32) return fn(float{});
  if (dtype == kBfloat16) return fn(bf16{});
  return Status::error(Code::invalidArgument, "kernel called with a dtype that is neither float32 nor bfloat16");
}

template <class F>
Status forTypes(int64_t a, int64_t b, F&& fn) {
  return forType(a, [&](auto ta) { return forType(b, [&](auto tb) { return fn(ta, tb); }); });
}

}  // namespace lantern::LANTERN_ISA
