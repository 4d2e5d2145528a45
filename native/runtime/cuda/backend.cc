// A GPU as a device. Kernels are launched by the calling thread, into one stream; that is all the queue there is. What the driver refuses
// is kept: until the caller knows of it, kernels are skipped and every wait comes to that error, so that nothing is computed from, and
// nobody reads, what was never written. When the driver says that the context can do no more, every call says so from then on.
#include "../backend.h"

#include <atomic>
#include <cstring>
#include <mutex>
#include <vector>

#include "../../kernels/common/kernel.h"
#include "context.h"
#include "faultMessage.h"
#include "memory.h"
#include "modules.h"
#include "registry.h"
#include "staging.h"
#include "timer.h"
#include "waiter.h"

namespace lantern::cuda {

namespace {

class CudaBackend final : public Backend, private Context {
 public:
  explicit CudaBackend(const GpuInfo& gpu) : gpu_(gpu) {
    computeCapability = gpu.computeCapability;
    multiprocessors = gpu.multiprocessors;
    sharedBytesPerBlock = gpu.sharedBytesPerBlock;
  }
  ~CudaBackend() override;
  Status open(size_t budget);

  std::string name() const override { return gpu_.name; }
  Status allocate(size_t bytes, void*& p) override;
  void free(void* p) override;
  void releaseUnused() override;
  Memory memory() override;
  void resetPeak() override { memory_->resetPeak(); }

  Status launch(int kernel, const void* params) override;
  int64_t launched() const override { return launched_; }
  Status upload(void* to, const void* from, size_t bytes) override;
  void download(void* to, const void* from, size_t bytes, Done done) override;
  void told(int64_t n) override;

  bool readsHostMemory() const override { return false; }
  void unmapFile(MappedFile file) override { lantern::unmapFile(file); }

  void profile(bool on) override;
  std::map<std::string, Timing> timings() override;

 private:
  // Of Context: what launchers call.
  void* workspace(size_t bytes) override;
  Fault* fault() override { return fault_; }
  Status zero(void* p, size_t bytes) override;
  Status launchEntry(const char* entry, Dim grid, unsigned threads, size_t sharedBytes, void** args) override;

  void makeCurrent() const { driver().cuCtxSetCurrent(context_); }
  Status run(const KernelEntry& kernel, const void* params);
  CUresult enqueueArrival(void*& arrival, const void* from, size_t bytes, const char*& what);
  Status failure(CUresult result, const char* what);  // notes when the device is lost
  Status lost() const;

  const GpuInfo& gpu_;
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  CUstream stream_ = nullptr;
  std::unique_ptr<Modules> modules_;
  std::unique_ptr<DeviceMemory> memory_;
  std::unique_ptr<Uploads> uploads_;
  std::unique_ptr<Arrivals> arrivals_;
  std::unique_ptr<Timer> timer_;
  std::unique_ptr<Waiter> waiter_;
  Fault* fault_ = nullptr;
  std::vector<void*> scratch_;  // of the op at hand
  Status error_;                // that the caller does not know yet
  int64_t errorSince_ = 0;      // downloads before it
  int64_t launched_ = 0, downloads_ = 0;
  // A fault of the data stays in its record, which the optimiser looks at, until the caller knows of it.
  std::atomic<int64_t> clearedAt_{0};   // downloads before the record was cleared last
  std::atomic<int64_t> faultSeen_{-1};  // the first download that found a fault in it; older than clearedAt_: none since

  std::atomic<bool> isLost_{false};
  mutable std::mutex lostMutex_;
  std::string whyLost_;
};

// ---- life ----

Status CudaBackend::open(size_t budget) {
  const auto check = [&](CUresult result, const char* what) { return result == CUDA_SUCCESS ? Status::fine() : failure(result, what); };
  LANTERN_TRY(check(driver().cuDeviceGet(&device_, gpu_.ordinal), "cuDeviceGet"));
  LANTERN_TRY(check(driver().cuDevicePrimaryCtxRetain(&context_, device_), "cuDevicePrimaryCtxRetain"));
  LANTERN_TRY(check(driver().cuCtxSetCurrent(context_), "cuCtxSetCurrent"));
  LANTERN_TRY(check(driver().cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate"));
  modules_ = std::make_unique<Modules>();
  memory_ = std::make_unique<DeviceMemory>(gpu_, stream_, budget);
  LANTERN_TRY(check(memory_->open(), "cuMemPoolCreate"));
  uploads_ = std::make_unique<Uploads>(stream_);
  arrivals_ = std::make_unique<Arrivals>();
  timer_ = std::make_unique<Timer>(stream_);
  CUdeviceptr fault = 0;
  LANTERN_TRY(check(driver().cuMemAlloc(&fault, sizeof(Fault)), "cuMemAlloc"));
  fault_ = static_cast<Fault*>(toPointer(fault));
  LANTERN_TRY(check(driver().cuMemsetD8Async(fault, 0, sizeof(Fault), stream_), "cuMemsetD8Async"));
  waiter_ = std::make_unique<Waiter>(context_, stream_);
  return Status::fine();
}

CudaBackend::~CudaBackend() {
  if (!context_) return;
  makeCurrent();
  waiter_.reset();
  if (stream_) driver().cuStreamSynchronize(stream_);
  if (fault_) driver().cuMemFree(toDevice(fault_));
  timer_.reset();
  arrivals_.reset();
  uploads_.reset();
  memory_.reset();
  modules_.reset();
  if (stream_) driver().cuStreamDestroy(stream_);
  driver().cuDevicePrimaryCtxRelease(device_);
}

// ---- errors ----

// A context that an error has ended gives that error for every call; one that goes on does not.
Status CudaBackend::failure(CUresult result, const char* what) {
  if (isLost_) return lost();
  const std::string device = "cuda:" + std::to_string(gpu_.ordinal) + " (" + gpu_.name + ")", error = std::string(what) + ": " + errorText(result);
  if (result == CUDA_ERROR_OUT_OF_MEMORY)
    return Status::error(Code::outOfMemory, device + " ran out of memory at " + error +
                                                "; dispose of tensors, use smaller batches, or end other programs that take memory");
  const std::string message = device + " failed at " + error;
  if (!stream_) return Status::error(Code::device, message + "; nvidia-smi may tell more");
  const CUresult now = driver().cuStreamQuery(stream_);
  if (now == CUDA_SUCCESS || now == CUDA_ERROR_NOT_READY) return Status::error(Code::device, message + "; the device goes on");
  std::lock_guard lock(lostMutex_);
  if (!isLost_) {
    whyLost_ = message + "; the device is lost: close it and open another, in a new process if that fails";
    isLost_ = true;
  }
  return Status::error(Code::deviceLost, whyLost_);
}

Status CudaBackend::lost() const {
  std::lock_guard lock(lostMutex_);
  return Status::error(Code::deviceLost, whyLost_);
}

// ---- memory ----

Status CudaBackend::allocate(size_t bytes, void*& p) {
  if (isLost_) return lost();
  makeCurrent();
  const CUresult result = memory_->allocate(bytes, p);
  return result == CUDA_SUCCESS ? Status::fine() : failure(result, "an allocation");
}

void CudaBackend::free(void* p) {
  makeCurrent();
  memory_->free(p);
}

void CudaBackend::releaseUnused() {
  makeCurrent();
  memory_->releaseUnused();
}

Backend::Memory CudaBackend::memory() {
  makeCurrent();
  return {memory_->live(), memory_->peak(), memory_->reserved(), memory_->scratchPeak(), memory_->budget()};
}

// ---- kernels ----

Status CudaBackend::launch(int kernel, const void* params) {
  if (isLost_) return lost();
  ++launched_;
  if (!error_.ok()) return Status::fine();
  makeCurrent();
  const KernelEntry& entry = kKernels[kernel];
  error_ = timer_->running() ? timer_->time(entry.name, [&] { return run(entry, params); }) : run(entry, params);
  errorSince_ = downloads_;
  return error_.code == Code::deviceLost ? error_ : Status::fine();
}

Status CudaBackend::run(const KernelEntry& kernel, const void* params) {
  Status status = kernel.run(params, *this);
  for (void* p : scratch_) memory_->freeScratch(p);
  scratch_.clear();
  return isLost_ ? lost() : status;
}

void* CudaBackend::workspace(size_t bytes) {
  void* p = nullptr;
  if (const CUresult result = memory_->allocateScratch(bytes, p); result != CUDA_SUCCESS) {
    if (result != CUDA_ERROR_OUT_OF_MEMORY) (void)failure(result, "an allocation");  // the launcher knows of no other reason
    return nullptr;
  }
  scratch_.push_back(p);
  return p;
}

Status CudaBackend::zero(void* p, size_t bytes) {
  if (bytes == 0) return Status::fine();
  const CUresult result = driver().cuMemsetD8Async(toDevice(p), 0, bytes, stream_);
  return result == CUDA_SUCCESS ? Status::fine() : failure(result, "cuMemsetD8Async");
}

Status CudaBackend::launchEntry(const char* entry, Dim grid, unsigned threads, size_t sharedBytes, void** args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return Status::fine();
  Function* function = nullptr;
  const char* what = "";
  CUresult result = modules_->find(entry, sharedBytes, function, what);
  if (result == CUDA_SUCCESS) {
    what = "cuLaunchKernel";
    result = driver().cuLaunchKernel(function->handle, grid.x, grid.y, grid.z, threads, 1, 1, unsigned(sharedBytes), stream_, args, nullptr);
  }
  return result == CUDA_SUCCESS ? Status::fine() : failure(result, (std::string(what) + " of " + entry).c_str());
}

// ---- copies and waits ----

Status CudaBackend::upload(void* to, const void* from, size_t bytes) {
  if (isLost_) return lost();
  makeCurrent();
  const char* what = "";
  const CUresult result = uploads_->copy(toDevice(to), from, bytes, what);
  return result == CUDA_SUCCESS ? Status::fine() : failure(result, what);
}

// In a block that arrives, the fault record comes first, then the data.
constexpr size_t kFaultBytes = (sizeof(Fault) + 63) / 64 * 64;

CUresult CudaBackend::enqueueArrival(void*& arrival, const void* from, size_t bytes, const char*& what) {
  what = "cuMemHostAlloc";
  if (const CUresult result = arrivals_->allocate(kFaultBytes + bytes, arrival); result != CUDA_SUCCESS) return result;
  what = "cuMemcpyDtoHAsync";
  if (bytes)
    if (const CUresult result = driver().cuMemcpyDtoHAsync(static_cast<char*>(arrival) + kFaultBytes, toDevice(from), bytes, stream_);
        result != CUDA_SUCCESS)
      return result;
  return driver().cuMemcpyDtoHAsync(arrival, toDevice(fault_), sizeof(Fault), stream_);
}

// What fails here goes through the waiter as well, so that whoever waits is told in the order of the calls.
void CudaBackend::download(void* to, const void* from, size_t bytes, Done done) {
  makeCurrent();
  void* arrival = nullptr;
  const char* what = "";
  const CUresult enqueued = enqueueArrival(arrival, from, error_.ok() ? bytes : 0, what);
  if (enqueued == CUDA_SUCCESS) what = "an event";
  waiter_->wait(enqueued, [=, this, number = downloads_++, kept = error_](CUresult reached) {
    // A fault of the data is older than what was kept, because once that is there, nothing is launched; an error of the wait is younger.
    Status status = reached == CUDA_SUCCESS ? toStatus(*static_cast<const Fault*>(arrival)) : failure(reached, what);
    if (reached == CUDA_SUCCESS && !status.ok() && number >= clearedAt_ && faultSeen_ < clearedAt_) faultSeen_ = number;
    if (!kept.ok() && status.code != Code::deviceLost && (status.ok() || reached != CUDA_SUCCESS)) status = kept;
    if (status.ok() && bytes) std::memcpy(to, static_cast<char*>(arrival) + kFaultBytes, bytes);
    if (reached == CUDA_SUCCESS) arrivals_->free(arrival);  // else a copy may be on its way: the block goes with the device
    done(std::move(status));
  });
}

void CudaBackend::told(int64_t n) {
  if (n >= errorSince_) error_ = Status::fine();
  if (isLost_ || faultSeen_ < clearedAt_ || n < faultSeen_) return;
  makeCurrent();
  const CUresult result = driver().cuMemsetD8Async(toDevice(fault_), 0, sizeof(Fault), stream_);
  if (result == CUDA_SUCCESS) clearedAt_ = downloads_;
  else (void)failure(result, "cuMemsetD8Async");  // the fault is told once more
}

// ---- timing ----

void CudaBackend::profile(bool on) {
  makeCurrent();
  timer_->run(on);
}

std::map<std::string, Backend::Timing> CudaBackend::timings() {
  makeCurrent();
  return timer_->collect();
}

}  // namespace

}  // namespace lantern::cuda

namespace lantern {

Status openCuda(int ordinal, size_t budget, std::unique_ptr<Backend>& backend) {
  const cuda::Discovery& found = cuda::discover();
  if (!found.reason.empty()) return Status::error(Code::device, found.reason);
  const cuda::GpuInfo* gpu = found.find(ordinal);
  if (!gpu) return Status::error(Code::device, "there is no GPU " + std::to_string(ordinal));
  if (!gpu->why.empty()) return Status::error(Code::device, gpu->name + ": " + gpu->why);
  auto opened = std::make_unique<cuda::CudaBackend>(*gpu);
  LANTERN_TRY(opened->open(budget));
  backend = std::move(opened);
  return Status::fine();
}

}  // namespace lantern
