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

// The event is the caller's to give back, also after an error.
CUresult Waiter::record(CUevent& event) {
  {
    std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      event = idle_.back();
      idle_.pop_back();
    }
  }
  if (!event)
    if (const CUresult result = driver().cuEventCreate(&event, CU_EVENT_DISABLE_TIMING | CU_EVENT_BLOCKING_SYNC); result != CUDA_SUCCESS)
      return result;
  return driver().cuEventRecord(event, stream_);
}

void Waiter::wait(CUresult enqueued, Reached reached) {
  CUevent event = nullptr;
  if (enqueued == CUDA_SUCCESS) enqueued = record(event);
  std::lock_guard lock(mutex_);
  points_.push_back({enqueued, event, std::move(reached)});
  changed_.notify_one();
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
    point.reached(point.enqueued == CUDA_SUCCESS ? driver().cuEventSynchronize(point.event) : point.enqueued);
    point.reached = nullptr;
    lock.lock();
    if (point.event) idle_.push_back(point.event);
  }
}

}  // namespace lantern::cuda
