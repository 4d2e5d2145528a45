// What the parts of the simulated driver share: handles, devices, contexts with their streams, memory and modules, and the way in through
// which every entry point goes.
#pragma once
#pragma GCC visibility push(default)  // the entry points are all that the library exports
#include <cuda.h>
#pragma GCC visibility pop

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "environment.h"
#include "fatbin.h"
#include "gpu.h"
#include "machine.h"
#include "memory.h"
#include "queue.h"
#include "report.h"

namespace lantern::simt::driver {

// What an entry point throws to return an error.
struct Refusal {
  CUresult result;
  std::string why;
  bool known = false;  // said before: not logged again
};
[[noreturn]] inline void refuse(CUresult result, const std::string& why) { throw Refusal{result, why}; }
inline void require(bool condition, const char* why) {
  if (!condition) refuse(CUDA_ERROR_INVALID_VALUE, why);
}

// Objects that the application knows by handle. A handle faults when it is dereferenced and is never given out twice.
template <class T>
class Handles {
 public:
  explicit Handles(uint64_t kind) : next_((uint64_t(0xa5) << 56) + (kind << 48)) {}
  void* add(std::shared_ptr<T> object) {
    std::lock_guard lock(mutex_);
    next_ += 16;
    objects_[next_] = std::move(object);
    return reinterpret_cast<void*>(next_);
  }
  std::shared_ptr<T> get(const void* handle) const {  // nullptr: not one of these, or no longer
    std::lock_guard lock(mutex_);
    const auto found = objects_.find(reinterpret_cast<uint64_t>(handle));
    return found == objects_.end() ? nullptr : found->second;
  }
  std::shared_ptr<T> remove(const void* handle) {
    std::lock_guard lock(mutex_);
    const auto found = objects_.extract(reinterpret_cast<uint64_t>(handle));
    return found.empty() ? nullptr : std::move(found.mapped());
  }
  std::vector<std::shared_ptr<T>> all() const {
    std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<T>> objects;
    for (const auto& [handle, object] : objects_) objects.push_back(object);
    return objects;
  }
  template <class F>
  std::vector<std::shared_ptr<T>> removeIf(F&& condition) {
    std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<T>> removed;
    for (auto i = objects_.begin(); i != objects_.end();)
      if (condition(*i->second)) removed.push_back(std::move(i->second)), i = objects_.erase(i);
      else ++i;
    return removed;
  }
  bool everGiven(const void* handle) const {
    std::lock_guard lock(mutex_);
    const uint64_t h = reinterpret_cast<uint64_t>(handle);
    return h >> 48 == next_ >> 48 && h <= next_ && h % 16 == 0;
  }

 private:
  mutable std::mutex mutex_;
  std::map<uint64_t, std::shared_ptr<T>> objects_;
  uint64_t next_;
};

class Context;

struct Device {
  Device(int ordinal, int devices, const Gpu& gpu, uint64_t bytes);
  const int ordinal;
  const Gpu& gpu;
  const std::string name;
  Memory memory;
  std::atomic<uint64_t> nextOrdered;  // address
  const uint64_t endOrdered;
  std::mutex mutex;
  int retained = 0;      // of the primary context
  unsigned flags = 0;
  CUcontext primary = nullptr;
};

struct Stream {
  Context* context;
  std::shared_ptr<Lane> lane;
  unsigned flags;
  int priority;
  bool blocking() const { return !(flags & CU_STREAM_NON_BLOCKING); }  // ordered against the legacy default stream
};

struct Mark {  // one record of an event
  Point point;
  std::chrono::steady_clock::time_point time;
};

struct Event {
  Context* context;
  unsigned flags;
  std::mutex mutex;
  std::shared_ptr<Mark> mark;  // nullptr: never recorded
};

struct Pool {
  explicit Pool(Context& context) : context(&context) {}
  Context* context;
  std::mutex mutex;
  uint64_t used = 0, usedHigh = 0, reserved = 0, reservedHigh = 0, threshold = 0, maximum = 0;
  std::map<const Stream*, uint64_t> coming;  // bytes whose free is enqueued: what comes later on the same stream may have them at once
  int reuse[4] = {0, 1, 1, 1};  // CU_MEMPOOL_ATTR_REUSE_*, by attribute
  void grow(uint64_t bytes, const Stream& stream);
  void come(const Stream& stream, int64_t bytes);
  void trim(uint64_t keep);
};

struct LoadedModule {
  LoadedModule(Context& context, Fatbin fatbin);
  ~LoadedModule();
  Context* const context;
  const Fatbin fatbin;
  const Cubin* cubin;  // the one this device would run; nullptr: it would compile the PTX
  std::unique_ptr<Module> module;
  std::atomic<int> enqueued{0};  // launches that have not run
  std::mutex mutex;
  std::set<uint64_t> exposed;                     // variables that the application has the address of
  std::map<std::string, CUfunction> functions;    // that it has asked for
};

struct Function {
  std::shared_ptr<LoadedModule> module;
  CUmodule handle = nullptr;  // of the module
  const Kernel* kernel = nullptr;
  const Resources* resources = nullptr;  // nullptr: compiled from PTX, so nobody knows
  int maxDynamicShared = 0;
  int carveout = -1;
};

struct Block {  // of device memory
  enum class Kind { plain, ordered, variable } kind;
  uint64_t bytes;
  std::string label;
  std::shared_ptr<Pool> pool;  // of `ordered`
  bool freed = false;          // a cuMemFreeAsync is enqueued
};

struct HostBlock {  // of page-locked host memory
  uint64_t bytes;
  bool registered;  // memory of the application
};

class Context {
 public:
  Context(Device& device, const Environment& environment);
  ~Context();

  Device& device;
  const Environment& environment;
  std::recursive_mutex& machine;  // guards device.memory and the machine itself
  Queue queue;
  const std::shared_ptr<Stream> legacy;  // the default stream

  // The error that has ended the context, or CUDA_SUCCESS.
  CUresult failure() const { return failure_; }
  void fail(CUresult result, const std::string& why);
  [[noreturn]] void refuseAsFailed() const;
  // Misuse that a real driver might let pass. Ends the context, unless findings are only recorded.
  void finding(const std::string& kind, const std::string& what);
  void destroy();            // everything in it; leaks become findings
  std::string leaks() const;  // what is alive in it, in words; empty: nothing

  // ---- streams ----
  std::shared_ptr<Stream> stream(CUstream handle);
  void addStream(const std::shared_ptr<Stream>& stream);
  Point push(const Stream& stream, std::function<void()> run, bool onHost = false, std::vector<Point> after = {});
  void wait(const std::vector<Point>& points);  // then returns unused memory of the pools, as synchronising does

  // ---- memory ----
  void addBlock(uint64_t address, Block block);
  void removeVariable(uint64_t address);
  Block beginFree(uint64_t address);  // refuses what is not the start of a live block, or whose free is enqueued
  void endFree(uint64_t address);     // by the one that runs it; `machine` is locked
  void requireDevice(uint64_t address, uint64_t bytes, const char* what);
  // Counts allocations; refuses by fault, or when memory is short. `pool` may use what it has reserved.
  void requireRoom(uint64_t bytes, const Pool* pool);
  uint64_t room(const Pool* pool) const;  // bytes that are left
  enum class HostKind { pageable, pinned };
  HostKind hostKind(const void* p, uint64_t bytes);
  void addHost(const void* p, HostBlock block);
  void removeHost(const void* p, bool registered);
  std::vector<std::shared_ptr<Pool>> pools() const;
  uint64_t unusedInPools(const Pool* except) const;  // bytes they have reserved and not given out
  // Host memory that enqueued work will touch: it must stay page-locked until then, that is while the result lives.
  std::shared_ptr<void> useHost(const void* p, uint64_t bytes);
  const std::shared_ptr<Pool> defaultPool;
  const CUmemoryPool defaultPoolHandle;
  std::atomic<CUmemoryPool> currentPool;  // where cuMemAllocAsync takes memory from
  uint64_t nextOrdered(uint64_t bytes);   // an address for memory that is allocated when the stream gets there

 private:
  std::vector<Point> before(const Stream& stream) const;  // what work that is pushed to it now must wait for

  std::atomic<CUresult> failure_{CUDA_SUCCESS};
  std::string whyFailed_;  // guarded by mutex_
  mutable std::mutex mutex_;
  std::vector<std::weak_ptr<Lane>> blockingLanes_;
  std::map<uint64_t, Block> blocks_;
  uint64_t taken_ = 0;  // bytes of them
  std::map<uint64_t, HostBlock> host_;
  std::map<uint64_t, std::pair<uint64_t, uint64_t>> hostInUse_;  // by serial number: address, bytes
  uint64_t hostSerial_ = 0;
};

// The driver of the process.
class Driver {
 public:
  static Driver& get();  // never destroyed: threads may be in it when the process ends

  Environment environment;
  bool initialised = false;
  std::vector<std::unique_ptr<Device>> devices;
  std::recursive_mutex machine;
  Reports reports;
  Handles<Context> contexts{1};
  Handles<Stream> streams{2};
  Handles<Event> events{3};
  Handles<LoadedModule> modules{4};
  Handles<Function> functions{5};
  Handles<Pool> pools{6};

  // Reads the environment anew, unless a context is alive. `devices`: makes the devices anew, too.
  void configure(bool devices);
  Device& device(CUdevice ordinal);

  struct Counts {
    std::atomic<uint64_t> calls{0}, allocations{0}, hostAllocations{0}, launches{0}, executions{0};
  } counts;

  // Before and after the body of every entry point.
  enum class Stage { anytime, initialised };
  CUresult admit(const char* entry, Stage stage);
  CUresult finish(const char* entry, CUresult result, const std::string& why, bool known = false);
  bool lost() const { return lost_; }
  std::string lastError() const;
  void log(const std::string& line) const;
  void writeReport() const;
  void watchExit();  // once, by the constructor

 private:
  Driver();
  std::atomic<bool> lost_{false};
  mutable std::mutex mutex_;
  std::string lastError_;
};

// Makes page-locked memory of the driver unreadable for good.
void retire(uint64_t address, uint64_t bytes);

// "allocation 3": the latest one.
std::string nameOfAllocation();

extern thread_local bool inHostFunction;  // where no entry point may be called

std::shared_ptr<Context> currentContext();  // refuses if this thread has none
const char* nameOf(CUresult result);        // nullptr: unknown
const char* textOf(CUresult result);

template <class F>
CUresult enter(const char* entry, Driver::Stage stage, F&& body) noexcept {
  Driver& driver = Driver::get();
  CUresult result = driver.admit(entry, stage);
  std::string why;
  bool known = false;
  if (result == CUDA_SUCCESS) try {
      body();
    } catch (const Refusal& e) {
      result = e.result, why = e.why, known = e.known;
    } catch (const Error& e) {
      result = CUresult(e.code), why = e.what();
    } catch (const std::bad_alloc&) {
      result = CUDA_ERROR_OUT_OF_MEMORY, why = "the host is out of memory";
    } catch (const std::exception& e) {
      result = CUDA_ERROR_UNKNOWN, why = e.what();
    }
  return driver.finish(entry, result, why, known);
}

// For entry points that work in the current context. The context's failure is returned before the body runs and after; `cleanup` runs
// the body even so, that what is freed after a failure does not count as leaked.
template <class F>
CUresult inContext(const char* entry, F&& body, bool cleanup = false) noexcept {
  return enter(entry, Driver::Stage::initialised, [&] {
    const std::shared_ptr<Context> context = currentContext();
    const auto check = [&] {
      if (context->failure() != CUDA_SUCCESS) context->refuseAsFailed();
    };
    if (!cleanup) check();
    body(*context);
    check();
  });
}

// For entry points that make something: another thread's failure, meanwhile, is not theirs, or nobody could give back what was made.
template <class F>
CUresult creating(const char* entry, F&& body) noexcept {
  return enter(entry, Driver::Stage::initialised, [&] {
    const std::shared_ptr<Context> context = currentContext();
    if (context->failure() != CUDA_SUCCESS) context->refuseAsFailed();
    body(*context);
  });
}

}  // namespace lantern::simt::driver
