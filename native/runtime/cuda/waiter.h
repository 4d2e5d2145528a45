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

  // Calls `reached` when the stream gets to what was enqueued so far. On an error it is not called.
  CUresult wait(Reached reached);

 private:
  struct Point {
    CUevent event;
    Reached reached;
  };
  void run();
  CUresult takeEvent(CUevent& event);

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
