// What a kernel is: a function of one plain parameter struct.
//
// A parameter struct holds 8-byte fields only: pointers (device addresses), int64_t and double. LANTERN_PARAMS(Type, fields...) below it
// publishes names, kinds and offsets, so that TypeScript fills it by name and no per-op binding code exists.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#ifndef __CUDACC__  // device code needs the parameter structs alone
#include "../../runtime/cpu/pool.h"
#include "../../runtime/cpu/workspace.h"
#include "../../runtime/status.h"
#endif

namespace lantern {

enum DType : int64_t { kFloat32 = 0, kBfloat16 = 1, kInt32 = 2 };

#ifndef __CUDACC__
struct Context {  // what a CPU kernel runs with; runtime/cuda/context.h has that of a CUDA kernel
  Pool& pool;
  Workspace& workspace;
};
#endif

struct Field {
  const char* name;
  char kind;  // 'p' pointer, 'i' int64_t, 'f' double
  int offset;
};

template <class T>
constexpr char kindOf() {
  static_assert(sizeof(T) == 8, "parameter fields are pointers, int64_t or double");
  return std::is_pointer_v<T> ? 'p' : std::is_floating_point_v<T> ? 'f' : 'i';
}

template <class P>
struct Describe;

#ifndef __CUDACC__
struct Kernel {
  const char* name;
  Status (*run)(const void* params, Context&);
  const Field* fields;
  int fieldCount, size;
};
#endif

}  // namespace lantern

#define LANTERN_PARENS ()
#define LANTERN_EXPAND(...) LANTERN_EXPAND3(LANTERN_EXPAND3(LANTERN_EXPAND3(LANTERN_EXPAND3(__VA_ARGS__))))
#define LANTERN_EXPAND3(...) LANTERN_EXPAND2(LANTERN_EXPAND2(LANTERN_EXPAND2(LANTERN_EXPAND2(__VA_ARGS__))))
#define LANTERN_EXPAND2(...) LANTERN_EXPAND1(LANTERN_EXPAND1(LANTERN_EXPAND1(LANTERN_EXPAND1(__VA_ARGS__))))
#define LANTERN_EXPAND1(...) __VA_ARGS__
#define LANTERN_EACH(type, ...) __VA_OPT__(LANTERN_EXPAND(LANTERN_EACH_STEP(type, __VA_ARGS__)))
#define LANTERN_EACH_STEP(type, field, ...) \
  {#field, kindOf<decltype(type::field)>(), int(offsetof(type, field))}, __VA_OPT__(LANTERN_EACH_AGAIN LANTERN_PARENS(type, __VA_ARGS__))
#define LANTERN_EACH_AGAIN() LANTERN_EACH_STEP

// Use at namespace lantern scope, right below the struct. The assertion catches a field that was left out.
#define LANTERN_PARAMS(type, ...)                                                                      \
  template <>                                                                                          \
  struct Describe<type> {                                                                              \
    static constexpr Field fields[] = {LANTERN_EACH(type, __VA_ARGS__)};                               \
    static constexpr int count = int(sizeof(fields) / sizeof(Field));                                  \
    static_assert(sizeof(type) == count * 8, #type ": describe every field, in order, 8 bytes each"); \
  };
