// What the processor can do at most, to measure kernels against: prints one number.
//   ceilings float32|bfloat16|read THREADS SECONDS
// Multiply-adds from registers alone (GFLOP/s, float32 and bfloat16), and reading of memory that no cache holds (GB/s). The best of many short
// runs counts: a ceiling is what the machine does when nothing disturbs it.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
using Vector = float __attribute__((vector_size(kVectorBytes)));
using Words = uint64_t __attribute__((vector_size(kVectorBytes)));
constexpr int kLanes = kVectorBytes / 4;

using Clock = std::chrono::steady_clock;
double seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

volatile float sink;
volatile uint64_t sinkWord;

// Enough sums under way to hide the latency of two units, few enough to stay in 16 registers.
constexpr int kSums = 12;
constexpr int64_t kSteps = 20000;

// Returns the floating-point operations done.
double multiplyAddFloat() {
  volatile float seed = 0.999999f;
  Vector a, b, sum[kSums];
  for (int l = 0; l < kLanes; ++l) a[l] = seed, b[l] = 1e-6f * seed;
  for (int s = 0; s < kSums; ++s) sum[s] = a;
  for (int64_t i = 0; i < kSteps; ++i)
#pragma GCC unroll 12
    for (int s = 0; s < kSums; ++s) sum[s] = sum[s] * a + b;
  for (int s = 1; s < kSums; ++s) sum[0] += sum[s];
  sink = sum[0][0];
  return 2.0 * kLanes * kSums * kSteps;
}

#if defined(__AVX512BF16__)
double multiplyAddBfloat() {
  volatile float seed = 1e-3f;
  const __m512 from = _mm512_set1_ps(seed);
  const __m512bh a = _mm512_cvtne2ps_pbh(from, from), b = a;
  __m512 sum[kSums];
  for (int s = 0; s < kSums; ++s) sum[s] = from;
  for (int64_t i = 0; i < kSteps; ++i)
#pragma GCC unroll 12
    for (int s = 0; s < kSums; ++s) sum[s] = _mm512_dpbf16_ps(sum[s], a, b);
  for (int s = 1; s < kSums; ++s) sum[0] = _mm512_add_ps(sum[0], sum[s]);
  sink = _mm512_cvtss_f32(sum[0]);
  return 4.0 * 16 * kSums * kSteps;
}
#else
double multiplyAddBfloat() { return multiplyAddFloat(); }  // without such instructions, bfloat16 is widened to float32
#endif

// All threads do `work` at once and report how much it was; the best total of work per second in `limit` seconds.
double best(int threads, double limit, const std::function<double(int)>& work) {
  double result = 0;
  int runs = 0;
  for (const auto begun = Clock::now(); runs < 30 || seconds(begun) < limit; ++runs) {
    std::atomic<int> ready{0};
    std::vector<double> done(threads);
    std::vector<std::thread> others;
    Clock::time_point started;
    const auto run = [&](int t) {
      ready.fetch_add(1);
      while (ready.load() < threads) {
      }
      if (t == 0) started = Clock::now();
      done[t] = work(t);
    };
    for (int t = 1; t < threads; ++t) others.emplace_back(run, t);
    run(0);
    for (auto& other : others) other.join();
    const double took = seconds(started);
    double sum = 0;
    for (double d : done) sum += d;
    result = std::max(result, sum / took);
  }
  return result;
}

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: ceilings float32|bfloat16|read THREADS SECONDS\n");
    return 2;
  }
  const std::string ceiling = argv[1];
  const int threads = std::max(1, atoi(argv[2]));
  const double limit = atof(argv[3]);
  if (ceiling != "read") {
    double (*once)() = ceiling == "float32" ? multiplyAddFloat : multiplyAddBfloat;
    const double rate = best(threads, limit, [once](int) {
      double sum = 0;
      for (int i = 0; i < 40; ++i) sum += once();
      return sum;
    });
    std::printf("%.4g\n", rate / 1e9);
    return 0;
  }
  const size_t part = std::max(size_t(512) << 20, threads * (size_t(64) << 20)) / threads / 4096 * 4096, bytes = part * threads;
  char* memory = static_cast<char*>(std::aligned_alloc(4096, bytes));
  if (!memory) return 1;
  std::memset(memory, 1, bytes);
  // A run reads the next piece of the thread's part: short enough for a quiet moment, and out of the caches again when its turn comes back.
  constexpr size_t kPiece = size_t(8) << 20;
  std::vector<size_t> next(threads);
  const double read = best(threads, limit, [&](int t) {
    if (next[t] + kPiece > part) next[t] = 0;
    const Words* p = reinterpret_cast<const Words*>(memory + t * part + next[t]);
    next[t] += kPiece;
    const size_t count = kPiece / kVectorBytes;
    Words sum[8] = {};
    for (size_t i = 0; i + 8 <= count; i += 8) {
      __builtin_prefetch(reinterpret_cast<const char*>(p + i) + 4096);
#pragma GCC unroll 8
      for (int s = 0; s < 8; ++s) sum[s] ^= p[i + s];
    }
    for (int s = 1; s < 8; ++s) sum[0] ^= sum[s];
    sinkWord = sum[0][0];
    return double(kPiece);
  });
  std::printf("%.4g\n", read / 1e9);
  std::free(memory);
}
