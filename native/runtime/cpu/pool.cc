#include "pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define LANTERN_PAUSE() _mm_pause()
#elif defined(__aarch64__)
#define LANTERN_PAUSE() asm volatile("yield")
#else
#define LANTERN_PAUSE() std::this_thread::yield()
#endif

namespace lantern {

namespace {
constexpr uint64_t kClosed = 1 << 16;
constexpr int kSpins = 20000;  // pauses before sleeping, about a millisecond: waking a sleeper costs about as much
}  // namespace

Pool::Pool(int threads) : threads_(threads) {
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

Pool::~Pool() {
  stop_ = true;
  epoch_.v.fetch_add(1);
  epoch_.v.notify_all();
  for (auto& w : workers_) w.join();
}

void Pool::drain(int thread) {
  for (int64_t i; (i = next_.v.fetch_add(1, std::memory_order_relaxed)) < count_;) job_(context_, i, thread);
}

void Pool::work(int thread) {
  uint32_t seen = 0;
  for (;;) {
    for (int spin = 0; epoch_.v.load(std::memory_order_acquire) == seen;) {
      if (++spin < kSpins) {
        LANTERN_PAUSE();
        continue;
      }
      sleepers_.v.fetch_add(1);
      epoch_.v.wait(seen);  // re-checks the value first: no lost wake-up
      sleepers_.v.fetch_sub(1);
    }
    seen = epoch_.v.load(std::memory_order_acquire);
    if (stop_) return;
    uint64_t gate = gate_.v.load(std::memory_order_acquire);
    while (uint32_t(gate >> 32) == seen && !(gate & kClosed)) {
      if (!gate_.v.compare_exchange_weak(gate, gate + 1, std::memory_order_acq_rel)) continue;
      drain(thread);
      done_.v.fetch_add(1, std::memory_order_release);
      break;
    }
  }
}

void Pool::run(int64_t count, void* context, Job job) {
  if (count <= 0) return;
  if (count == 1 || threads_ == 1) {
    for (int64_t i = 0; i < count; ++i) job(context, i, 0);
    return;
  }
  context_ = context;
  job_ = job;
  count_ = count;
  done_.v.store(0, std::memory_order_relaxed);
  next_.v.store(0, std::memory_order_relaxed);
  const uint32_t epoch = epoch_.v.load(std::memory_order_relaxed) + 1;
  gate_.v.store(uint64_t(epoch) << 32, std::memory_order_release);
  epoch_.v.store(epoch);
  if (sleepers_.v.load()) epoch_.v.notify_all();  // the system call only when somebody sleeps
  drain(0);
  const uint32_t joined = uint32_t(gate_.v.fetch_or(kClosed, std::memory_order_acq_rel) & 0xffff);
  for (int spin = 0; done_.v.load(std::memory_order_acquire) != joined; ++spin) {
    if (spin < kSpins) LANTERN_PAUSE();
    else std::this_thread::yield();  // more threads than cores: let the worker have this one
  }
}

}  // namespace lantern
