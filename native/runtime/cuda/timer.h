// How long kernels take on the device: an event before each and one after it.
#pragma once
#include <utility>
#include <vector>

#include "../backend.h"
#include "driver.h"

namespace lantern::cuda {

class Timer {
 public:
  explicit Timer(CUstream stream) : stream_(stream) {}
  Timer(const Timer&) = delete;
  ~Timer() { forget(); }

  bool running() const { return running_; }
  void run(bool on);  // starts anew, or stops

  // Runs `work`, which enqueues the kernel called `name`.
  template <class F>
  Status time(const char* name, F&& work) {
    const CUevent begin = mark();
    Status status = work();
    spans_.push_back({name, begin, mark()});
    return status;
  }

  // Of everything since the start that the stream has got through.
  std::map<std::string, Backend::Timing> collect() const;

 private:
  struct Span {
    const char* name;
    CUevent begin, end;  // nullptr when the driver gave no event
  };
  CUevent mark();
  void forget();

  const CUstream stream_;
  bool running_ = false;
  std::vector<Span> spans_;
};

}  // namespace lantern::cuda
