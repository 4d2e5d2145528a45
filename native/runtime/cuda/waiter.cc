#include "waiter.h"

namespace lantern::cuda {

Waiter::Waiter(CUcontext context, CUstream stream) : context_(context), stream_(stream), thread_([this] { run(); }) {}

Waiter::~Waiter() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_one();
  thread_.join();
  for (const CUevent event : idle_) driver().cuEventDestroy(event);
}

CUresult Waiter::takeEvent(CUevent& event) {
  {
    std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      event = idle_.back();
      idle_.pop_back();
      return CUDA_SUCCESS;
    }
  }
  return driver().cuEventCreate(&event, CU_EVENT_DISABLE_TIMING | CU_EVENT_BLOCKING_SYNC);
}

CUresult Waiter::wait(Reached reached) {
  CUevent event = nullptr;
  if (const CUresult result = takeEvent(event); result != CUDA_SUCCESS) return result;
  const CUresult result = driver().cuEventRecord(event, stream_);
  std::lock_guard lock(mutex_);
  if (result != CUDA_SUCCESS) {
    idle_.push_back(event);
    return result;
  }
  points_.push_back({event, std::move(reached)});
  changed_.notify_one();
  return result;
}

void Waiter::run() {
  driver().cuCtxSetCurrent(context_);
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stop_ || !points_.empty(); });
    if (points_.empty()) return;
    Point point = std::move(points_.front());
    points_.pop_front();
    lock.unlock();
    point.reached(driver().cuEventSynchronize(point.event));
    point.reached = nullptr;
    lock.lock();
    idle_.push_back(point.event);
  }
}

}  // namespace lantern::cuda
