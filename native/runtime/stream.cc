#include "stream.h"

#include <chrono>
#include <cstring>

namespace lantern {

namespace {
constexpr int kSpins = 2000;  // looks at the queue before sleeping, some tens of microseconds: a training script enqueues in bursts
}

Stream::Stream(int threads) : pool_(threads), workspace_(threads), executor_([this] { execute(); }) {}

Stream::~Stream() {
  stop_ = true;
  pushed_.fetch_add(1);
  pushed_.notify_one();
  executor_.join();
}

void Stream::push(Command&& command) {
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(command));
  }
  pushed_.fetch_add(1);
  if (sleeping_.load()) pushed_.notify_one();
}

void Stream::launch(const Kernel& kernel, const void* params) {
  Command c;
  c.kernel = &kernel;
  memcpy(c.params.data(), params, size_t(kernel.size));
  ++launched_;
  push(std::move(c));
}

void Stream::host(std::function<void()> work) {
  Command c;
  c.host = std::move(work);
  push(std::move(c));
}

void Stream::fence(std::function<void(Status)> done) {
  Command c;
  c.fence = std::move(done);
  push(std::move(c));
}

// An error that came after that fence is another one: it stays.
void Stream::told(int64_t fence) {
  host([this, fence] {
    if (fence >= errorSince_) error_ = Status::fine();
  });
}

void Stream::profile(bool on) {
  host([this, on] {
    std::lock_guard lock(timingsMutex_);
    if (on) timings_.clear();
    profiling_ = on;
  });
}

std::map<std::string, Stream::Timing> Stream::timings() const {
  std::lock_guard lock(timingsMutex_);
  return timings_;
}

void Stream::runKernel(const Command& c) {
  if (!error_.ok()) return;
  Context context{pool_, workspace_};
  errorSince_ = fences_;
  if (!profiling_) {
    error_ = c.kernel->run(c.params.data(), context);
    return;
  }
  const auto begun = std::chrono::steady_clock::now();
  error_ = c.kernel->run(c.params.data(), context);
  std::lock_guard lock(timingsMutex_);
  Timing& timing = timings_[c.kernel->name];
  ++timing.calls;
  timing.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
}

void Stream::run(Command& c) {
  if (c.kernel) {
    runKernel(c);
  } else if (c.host) {
    c.host();
  } else {
    ++fences_;
    c.fence(error_);
  }
}

void Stream::execute() {
  std::vector<Command> batch;
  for (;;) {
    const uint32_t seen = pushed_.load();
    {
      std::lock_guard lock(mutex_);
      batch.swap(queue_);
    }
    if (!batch.empty()) {
      for (Command& c : batch) run(c);
      batch.clear();
      continue;
    }
    if (stop_) return;
    for (int spin = 0; spin < kSpins && pushed_.load(std::memory_order_relaxed) == seen; ++spin) std::this_thread::yield();
    sleeping_ = true;
    pushed_.wait(seen);  // returns at once when something was pushed meanwhile
    sleeping_ = false;
  }
}

}  // namespace lantern
