// An ordered stream of work: the host thread enqueues and goes on, an executor thread runs the commands one after another, each kernel
// over the thread pool. A kernel that fails leaves its error to the next fence, which reports and clears it; until then kernels are
// skipped, so that nothing computes on what was never written.
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
  void fence(std::function<void(Status)> done);          // told of the first error since the last fence
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

  Pool pool_;
  Workspace workspace_;
  Status error_;
  std::mutex mutex_;
  std::vector<Command> queue_;
  std::atomic<uint32_t> pushed_{0};
  std::atomic<bool> stop_{false}, sleeping_{false};
  int64_t launched_ = 0;
  bool profiling_ = false;  // of the executor thread
  std::map<std::string, Timing> timings_;
  mutable std::mutex timingsMutex_;
  std::thread executor_;
};

}  // namespace lantern
