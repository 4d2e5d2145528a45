// Which attention kernel takes a case: the launchers of attention, attentionBackward and pagedAttention agree on it here.
#pragma once
#include <algorithm>
#include <initializer_list>
#include <string>

#include "attentionShape.h"
#include "common/launch.h"

namespace lantern::cuda {

// Element strides and addresses that are all multiples of `elements`, of `bytes` bytes each.
inline bool allMultiples(std::initializer_list<const void*> pointers, std::initializer_list<int64_t> strides, int64_t elements, int64_t bytes) {
  for (const void* x : pointers)
    if (reinterpret_cast<uintptr_t>(x) % uintptr_t(elements * bytes) != 0) return false;
  for (const int64_t s : strides)
    if (s % elements != 0) return false;
  return true;
}

inline int64_t elementBytes(int64_t dtype) { return dtype == kFloat32 ? 4 : 2; }
inline bool isFloat(int64_t dtype) { return dtype == kFloat32 || dtype == kBfloat16; }
inline Status badHeadDim(const char* op) { return Status::error(Code::invalidArgument, std::string(op) + ": headDim must be at most 256"); }

// fn(shape) with the smallest of the shapes that holds headDim.
template <template <int> class Shape, class F>
Status forMmaShape(int64_t headDim, F&& fn) {
  if (headDim <= 64) return fn(Shape<64>());
  if (headDim <= 96) return fn(Shape<96>());
  return fn(Shape<128>());
}

}  // namespace lantern::cuda
