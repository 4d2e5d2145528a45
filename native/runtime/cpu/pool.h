// A thread pool for one caller at a time. `parallel(count, fn)` runs fn(item, thread) for every item, the caller being thread 0.
//
// Items are handed out dynamically, so which thread runs an item is not defined: results must not depend on it
// (sum per item, never per thread, or use a split that is a function of the sizes alone).
// Workers spin for about a millisecond after a job, then sleep. A worker joins a job by claiming a place in it; when the items have run
// out the caller closes the job and waits only for those that joined, so a small job never waits for a sleeping thread to wake.
#pragma once
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace lantern {

class Pool {
 public:
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;

  int threads() const { return threads_; }

  template <class F>
  void parallel(int64_t count, F&& fn) {
    run(count, &fn, [](void* f, int64_t item, int thread) { (*static_cast<std::remove_reference_t<F>*>(f))(item, thread); });
  }

 private:
  using Job = void (*)(void*, int64_t, int);
  template <class V>
  struct alignas(64) Line {  // one cache line each: no false sharing
    std::atomic<V> v{0};
  };

  void run(int64_t count, void* context, Job job);
  void drain(int thread);
  void work(int thread);

  const int threads_;
  Line<uint64_t> gate_;  // epoch << 32 | closed << 16 | workers that joined
  Line<uint32_t> epoch_, done_, sleepers_;
  Line<int64_t> next_;
  int64_t count_ = 0;
  void* context_ = nullptr;
  Job job_ = nullptr;
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace lantern
