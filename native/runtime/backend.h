// What a device is to the addon, CPU or GPU: memory, kernels, copies and waits, all in the order of the calls and off the calling thread.
// Everything is called from one thread. An error of enqueued work is what every wait after it comes to, until the caller knows of it (told).
// Kernels that were enqueued before that are skipped; but where a GPU finds the fault in the data, as an id out of range, while it is at
// work, later kernels may run, within their bounds, and only an optimiser's step is sure to change nothing.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "mappedFile.h"
#include "status.h"

namespace lantern {

class Backend {
 public:
  struct Memory {  // bytes
    size_t live, peak;  // of what allocate() gave
    size_t reserved;    // taken from the system
    size_t workspace;   // scratch of the kernels
    size_t budget;      // 0: none
  };
  struct Timing {
    int64_t calls = 0;
    double seconds = 0;
  };
  using Done = std::function<void(Status)>;  // called once, on a thread of the backend's

  virtual ~Backend() = default;  // waits for what was enqueued, then gives everything back

  virtual std::string name() const = 0;
  // Code::outOfMemory without a message when there is no more.
  virtual Status allocate(size_t bytes, void*& p) = 0;
  virtual void free(void* p) = 0;
  virtual void releaseUnused() = 0;
  virtual Memory memory() = 0;
  virtual void resetPeak() = 0;

  virtual Status launch(int kernel, const void* params) = 0;  // an index into LANTERN_KERNELS; the parameters are copied
  virtual int64_t launched() const = 0;
  virtual Status upload(void* to, const void* from, size_t bytes) = 0;  // `from` is host memory that may change after the call
  virtual void download(void* to, const void* from, size_t bytes, Done done) = 0;  // `to` is host memory that stays until `done`
  // Whoever waited now knows the error that the n-th download came to, counted from 0: what is enqueued from here on runs.
  virtual void told(int64_t n) = 0;

  // Whether kernels can read host memory, as that of a mapped file.
  virtual bool readsHostMemory() const = 0;
  virtual void unmapFile(MappedFile file) = 0;

  virtual void profile(bool on) = 0;  // starts anew, or stops, in the order of the calls
  virtual std::map<std::string, Timing> timings() = 0;  // by kernel; after a wait
};

std::unique_ptr<Backend> openCpu(int threads, size_t budget);
Status openCuda(int ordinal, size_t budget, std::unique_ptr<Backend>& backend);

}  // namespace lantern
