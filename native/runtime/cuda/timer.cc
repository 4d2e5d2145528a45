#include "timer.h"

namespace lantern::cuda {

void Timer::run(bool on) {
  if (on) forget();
  running_ = on;
}

CUevent Timer::mark() {
  CUevent event = nullptr;
  if (driver().cuEventCreate(&event, CU_EVENT_DEFAULT) != CUDA_SUCCESS) return nullptr;
  if (driver().cuEventRecord(event, stream_) == CUDA_SUCCESS) return event;
  driver().cuEventDestroy(event);
  return nullptr;
}

void Timer::forget() {
  for (const Span& span : spans_)
    for (const CUevent event : {span.begin, span.end})
      if (event) driver().cuEventDestroy(event);
  spans_.clear();
}

std::map<std::string, Backend::Timing> Timer::collect() const {
  std::map<std::string, Backend::Timing> all;
  for (const Span& span : spans_) {
    float milliseconds = 0;
    if (!span.begin || !span.end || driver().cuEventElapsedTime(&milliseconds, span.begin, span.end) != CUDA_SUCCESS) continue;
    Backend::Timing& timing = all[span.name];
    ++timing.calls;
    timing.seconds += double(milliseconds) / 1000;
  }
  return all;
}

}  // namespace lantern::cuda
