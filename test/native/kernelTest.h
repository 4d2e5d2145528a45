// Running kernels as the addon does, through the tables of every instruction set this processor has, on buffers of exactly the size the
// parameter struct promises: one byte read or written beyond is an error of the address sanitizer.
#pragma once
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "../../native/kernels/kernels.h"
#include "../../native/runtime/cpu/dispatch.h"
#include "harness.h"

namespace lantern::test {

constexpr DType kFloats[] = {kFloat32, kBfloat16};

// How far results may be off, as relative norm: loose, the exact contract is tested against float64 elsewhere.
inline double tolerance(int64_t dtype) { return dtype == kFloat32 ? 1e-4 : 2e-2; }

inline uint16_t toBf16(float f) {  // round to nearest even
  uint32_t u;
  std::memcpy(&u, &f, 4);
  return uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
inline float fromBf16(uint16_t bits) {
  const uint32_t u = uint32_t(bits) << 16;
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}

// A tensor's memory: exactly count elements on the heap, NaN (or INT32_MIN) until written.
class Buffer {
 public:
  Buffer(int64_t count, int64_t dtype)
      : count_(count), dtype_(dtype), data_(static_cast<unsigned char*>(std::malloc(size_t(count * width())))) {
    for (int64_t i = 0; i < count; ++i) set(i, NAN);
  }
  Buffer(const std::vector<double>& values, int64_t dtype) : Buffer(int64_t(values.size()), dtype) {
    for (int64_t i = 0; i < count_; ++i) set(i, values[size_t(i)]);
  }
  Buffer(const Buffer& other) : Buffer(other.values(), other.dtype_) {}
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  int64_t size() const { return count_; }
  int64_t dtype() const { return dtype_; }
  double operator[](int64_t i) const {
    if (dtype_ == kInt32) return reinterpret_cast<const int32_t*>(data_)[i];
    return dtype_ == kFloat32 ? reinterpret_cast<const float*>(data_)[i] : fromBf16(reinterpret_cast<const uint16_t*>(data_)[i]);
  }
  void set(int64_t i, double v) {
    if (dtype_ == kInt32) reinterpret_cast<int32_t*>(data_)[i] = std::isnan(v) ? INT32_MIN : int32_t(v);
    else if (dtype_ == kFloat32) reinterpret_cast<float*>(data_)[i] = float(v);
    else reinterpret_cast<uint16_t*>(data_)[i] = std::isnan(v) ? 0x7fc0 : toBf16(float(v));
  }
  std::vector<double> values() const {
    std::vector<double> v(static_cast<size_t>(count_));
    for (int64_t i = 0; i < count_; ++i) v[size_t(i)] = (*this)[i];
    return v;
  }
  operator void*() { return data_; }
  operator const void*() const { return data_; }
  operator float*() { return reinterpret_cast<float*>(data_); }
  operator int32_t*() { return reinterpret_cast<int32_t*>(data_); }

 private:
  int64_t width() const { return dtype_ == kBfloat16 ? 2 : 4; }
  int64_t count_, dtype_;
  unsigned char* data_;
};

// Seeded numbers between -1 and 1, one in two hundred of them 20 times as large.
inline std::vector<double> values(int64_t count, uint64_t seed) {
  Random random{seed};
  std::vector<double> v(static_cast<size_t>(count));
  for (double& x : v) x = random.uniform(-1, 1) * (random.below(200) ? 1 : 20);
  return v;
}
inline Buffer floats(int64_t count, int64_t dtype, uint64_t seed) { return Buffer(values(count, seed), dtype); }
inline Buffer ints(const std::vector<int>& list) { return Buffer(std::vector<double>(list.begin(), list.end()), kInt32); }
inline Buffer zeros(int64_t count, int64_t dtype) { return Buffer(std::vector<double>(size_t(count), 0.0), dtype); }

// Elements of a tensor whose rows lie `stride` apart: the last row ends the memory.
inline int64_t span(int64_t rows, int64_t cols, int64_t stride) { return rows ? (rows - 1) * stride + cols : 0; }

// A strided tensor of numbers; what lies between its rows is NaN.
inline Buffer strided(int64_t rows, int64_t cols, int64_t stride, int64_t dtype, uint64_t seed) {
  Buffer b(span(rows, cols, stride), dtype);
  const std::vector<double> v = values(rows * cols, seed);
  for (int64_t i = 0; i < rows * cols; ++i) b.set(i / cols * stride + i % cols, v[size_t(i)]);
  return b;
}

// The rows of a strided tensor, packed. What lies between them must still be NaN.
inline Buffer packed(const Buffer& b, int64_t rows, int64_t cols, int64_t stride) {
  Buffer out(rows * cols, b.dtype());
  for (int64_t i = 0; i < b.size(); ++i)
    if (i % stride < cols) out.set(i / stride * cols + i % stride, b[i]);
    else CHECK(std::isnan(b[i]));
  return out;
}

// ||a - b|| <= limit * ||b||; an absolute `limit` where b is nearly zero. NaN never passes.
inline void expectNear(const Buffer& a, const std::vector<double>& b, double limit, const char* file, int line, const std::string& what) {
  double difference = 0, norm = 0;
  for (int64_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[size_t(i)]) * (a[i] - b[size_t(i)]);
    norm += b[size_t(i)] * b[size_t(i)];
  }
  const double error = std::sqrt(difference) / (norm > 1e-12 ? std::sqrt(norm) : 1);
  if (a.size() != int64_t(b.size()) || !(error <= limit)) failed(file, line, what + " is off by " + std::to_string(error));
}

// One instruction set, one pool, one workspace.
class Runner {
 public:
  Runner(const InstructionSet& set, int threads) : set_(set), pool_(threads), workspace_(threads) {}

  template <class P>
  Status run(const char* name, const P& params) {
    for (int i = 0; i < set_.kernelCount; ++i)
      if (!std::strcmp(set_.kernels[i].name, name)) {
        CHECK(set_.kernels[i].size == int(sizeof(P)) && set_.kernels[i].fieldCount == Describe<P>::count);
        ran().insert(std::string(set_.name) + " " + name);
        Context context{pool_, workspace_};
        return set_.kernels[i].run(&params, context);
      }
    return Status::error(Code::invalidArgument, std::string("no kernel ") + name);
  }
  std::string where() const { return std::string(set_.name) + ", " + std::to_string(pool_.threads()) + " threads"; }

  static std::set<std::string>& ran() {  // "set kernel"
    static std::set<std::string> all;
    return all;
  }

 private:
  const InstructionSet& set_;
  Pool pool_;
  Workspace workspace_;
};

// fn(Runner&) for every instruction set of this processor, alone and with three threads.
template <class F>
void everywhere(F&& fn) {
  for (const InstructionSet& set : dispatch().sets)
    for (const int threads : {1, 3})
      if (set.supported) {
        Runner runner(set, threads);
        fn(runner);
      }
}

}  // namespace lantern::test

#define OK(status)                                                                               \
  do {                                                                                           \
    const lantern::Status result = (status);                                                     \
    if (!result.ok()) lantern::test::failed(__FILE__, __LINE__, #status ": " + result.message);  \
  } while (0)
#define NEAR(buffer, expected, limit) \
  lantern::test::expectNear(buffer, expected, limit, __FILE__, __LINE__, r.where() + ": " #buffer)
