// What the host side of a CUDA kernel (native/kernels/<op>.cuda.cc) runs with: the device's limits, scratch memory, and launches.
//
// An entry point of <op>.cu is called <op>_<variant>: the part before the first underscore names the module that holds it. Arguments are
// passed by value and must have the types the entry point declares; most take the op's parameter struct itself.
#pragma once
#include <cstddef>
#include <cstdint>

#include "../status.h"
#include "fault.h"

namespace lantern::cuda {

struct Dim {
  unsigned x = 1, y = 1, z = 1;
};

class Context {
 public:
  virtual ~Context() = default;

  int computeCapability = 80;           // 80, 86, 89, 90, 100, 120
  int multiprocessors = 1;
  size_t sharedBytesPerBlock = 101376;  // the most a block may opt in to

  // Device memory for the op at hand, 256-byte aligned, not initialised; it lasts until the op's last launch has run. nullptr when out of
  // memory. Several calls give several blocks.
  virtual void* workspace(size_t bytes) = 0;

  // Where kernels report what is wrong with the data (an id out of range): device memory, see fault.h.
  virtual Fault* fault() = 0;

  // Sets device memory to zero bytes, in stream order.
  virtual Status zero(void* p, size_t bytes) = 0;

  // Enqueues an entry point. sharedBytes is dynamic shared memory. A grid without blocks is no work and no error.
  template <class... Args>
  Status launch(const char* entry, Dim grid, unsigned threads, size_t sharedBytes, const Args&... args) {
    const void* pointers[] = {static_cast<const void*>(&args)..., nullptr};
    return launchEntry(entry, grid, threads, sharedBytes, const_cast<void**>(pointers));
  }

 protected:
  virtual Status launchEntry(const char* entry, Dim grid, unsigned threads, size_t sharedBytes, void** args) = 0;
};

}  // namespace lantern::cuda

// Returns from a launcher with the first error.
#define LANTERN_TRY(...)                                              \
  if (::lantern::Status status_ = (__VA_ARGS__); !status_.ok()) return status_
