// A thread that waits for points of the stream, so that nobody else has to.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "driver.h"

namespace lantern::cuda {

class Waiter {
 public:
  using Reached = std::function<void(CUresult)>;  // called on the thread, with what waiting came to

  Waiter(CUcontext context, CUstream stream);
  Waiter(const Waiter&) = delete;
  ~Waiter();  // waits for every point

  // Calls `reached` when the stream gets to what was enqueued so far, or with the error that enqueueing it came to: always once, and in the
  // order of the calls.
  void wait(CUresult enqueued, Reached reached);

 private:
  struct Point {
    CUresult enqueued;
    CUevent event;  // nullptr when there is nothing to wait for
    Reached reached;
  };
  void run();
  CUresult record(CUevent& event);

  const CUcontext context_;
  const CUstream stream_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Point> points_;
  std::vector<CUevent> idle_;  // events nobody uses
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace lantern::cuda
