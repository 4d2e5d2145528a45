// An ordered stream of work: the host thread enqueues and goes on, an executor thread runs the commands one after another, each kernel
// over the thread pool. A kernel that fails leaves its error to the fences after it, which all report it, until the host thread knows of it
// and says so. Kernels that were enqueued before that are skipped: nothing computes on, or updates from, what was never written.
#pragma once
#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "../kernels/common/kernel.h"
#include "backend.h"

namespace lantern {

class Stream {
 public:
  static constexpr size_t kMaxParams = 320;  // bytes

  explicit Stream(int threads);
  ~Stream();  // runs what was enqueued, then stops

  void launch(const Kernel& kernel, const void* params);
  void host(std::function<void()> work);                 // runs on the executor thread, in order
  void fence(std::function<void(Status)> done);          // gets the first error that the host thread does not know of yet
  void told(int64_t fence);                              // it knows what the n-th fence reported, counted from 0: kernels enqueued from here on run
  size_t workspaceBytes() const { return workspace_.bytes(); }
  int threads() const { return pool_.threads(); }
  int64_t launched() const { return launched_; }

  using Timing = Backend::Timing;
  void profile(bool on);                          // starts anew, or stops; takes effect in stream order
  std::map<std::string, Timing> timings() const;  // of the kernels that ran since

 private:
  struct Command {
    const Kernel* kernel = nullptr;
    std::array<unsigned char, kMaxParams> params;
    std::function<void()> host;
    std::function<void(Status)> fence;
  };
  void push(Command&& command);
  void execute();
  void run(Command& command);
  void runKernel(const Command& command);

  Pool pool_;
  Workspace workspace_;
  std::mutex mutex_;
  std::vector<Command> queue_;
  std::atomic<uint32_t> pushed_{0};
  std::atomic<bool> stop_{false}, sleeping_{false};
  int64_t launched_ = 0;

  // Of the executor thread.
  Status error_;            // that the host thread does not know of yet
  int64_t errorSince_ = 0;  // fences before it
  int64_t fences_ = 0;
  bool profiling_ = false;

  std::map<std::string, Timing> timings_;
  mutable std::mutex timingsMutex_;
  std::thread executor_;
};

}  // namespace lantern
