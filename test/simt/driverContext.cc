// Contexts: what lives in one, how it fails, what must be gone when it ends; the primary context of a device, and the current one of a thread.
#include "driver.h"

namespace lantern::simt::driver {

namespace {

thread_local std::vector<CUcontext> stack;  // of current contexts, the last is the one that counts

// An error of enqueued work. A range that is no longer, or not yet, an allocation when a copy runs is an illegal address by then.
CUresult resultOf(const std::exception_ptr& error, std::string& why) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    why = e.what();
    return e.code == Result::invalidValue ? CUDA_ERROR_ILLEGAL_ADDRESS : CUresult(e.code);
  } catch (const Refusal& e) {
    why = e.why;
    return e.result;
  } catch (const std::exception& e) {
    why = e.what();
    return CUDA_ERROR_UNKNOWN;
  }
}

std::string counted(uint64_t n, const char* noun) { return std::to_string(n) + " " + noun + (n == 1 ? "" : "s"); }

}  // namespace

std::shared_ptr<Context> currentContext() {
  if (stack.empty()) refuse(CUDA_ERROR_INVALID_CONTEXT, "this thread has no current context");
  std::shared_ptr<Context> context = Driver::get().contexts.get(stack.back());
  if (!context) refuse(CUDA_ERROR_CONTEXT_IS_DESTROYED, "the current context of this thread was destroyed");
  return context;
}

// ---- life ----

Context::Context(Device& device, const Environment& environment)
    : device(device),
      environment(environment),
      machine(Driver::get().machine),
      queue(environment.order, environment.seed, machine,
            [this](std::exception_ptr error) {
              std::string why;
              const CUresult result = resultOf(error, why);
              Driver::get().finish("enqueued work", result, why);
              fail(result, why);
            }),
      legacy(std::make_shared<Stream>(this, queue.open(), CU_STREAM_DEFAULT, 0)),
      defaultPool(std::make_shared<Pool>(*this)),
      defaultPoolHandle(static_cast<CUmemoryPool>(Driver::get().pools.add(defaultPool))),
      currentPool(defaultPoolHandle) {
  blockingLanes_.push_back(legacy->lane);
}

Context::~Context() = default;

void Context::fail(CUresult result, const std::string& why) {
  CUresult none = CUDA_SUCCESS;
  {
    std::lock_guard lock(mutex_);
    if (failure_.compare_exchange_strong(none, result)) whyFailed_ = why;
  }
  queue.stop();
}

void Context::refuseAsFailed() const {
  std::lock_guard lock(mutex_);
  throw Refusal{failure_, "the context has failed: " + whyFailed_, true};
}

void Context::finding(const std::string& kind, const std::string& what) {
  Driver::get().reports.found(kind, what);
  Driver::get().log("finding: " + kind + ": " + what);
  if (environment.failOnFindings) fail(CUDA_ERROR_LAUNCH_FAILED, kind + ": " + what);
}

std::string Context::leaks() const {
  Driver& driver = Driver::get();
  const auto mine = [&](const auto& handles) {
    uint64_t n = 0;
    for (const auto& object : handles.all()) n += object->context == this;
    return n;
  };
  std::vector<std::string> parts;
  {
    std::lock_guard lock(mutex_);
    uint64_t n = 0, bytes = 0;
    std::string first;
    for (const auto& [address, block] : blocks_)
      if (block.kind != Block::Kind::variable && !block.freed) {
        if (++n <= 3) first += (n > 1 ? ", " : "") + block.label + " of " + std::to_string(block.bytes);
        bytes += block.bytes;
      }
    if (n) parts.push_back(counted(n, "device allocation") + " of " + std::to_string(bytes) + " bytes (" + first + (n > 3 ? ", ..." : "") + ")");
    if (!host_.empty()) parts.push_back(counted(host_.size(), "page-locked host block"));
  }
  if (const uint64_t n = mine(driver.streams)) parts.push_back(counted(n, "stream"));
  if (const uint64_t n = mine(driver.events)) parts.push_back(counted(n, "event"));
  if (const uint64_t n = mine(driver.modules)) parts.push_back(counted(n, "module"));
  if (const uint64_t n = mine(driver.pools); n > 1) parts.push_back(counted(n - 1, "memory pool"));  // besides the default pool
  std::string all;
  for (const std::string& part : parts) all += (all.empty() ? "" : ", ") + part;
  return all;
}

void Context::destroy() {
  Driver& driver = Driver::get();
  if (!queue.idle()) finding("unfinished work", "a context was destroyed while work was enqueued in it");
  if (const std::string alive = leaks(); !alive.empty()) finding("leak", "a context was destroyed with " + alive + " in it");
  fail(CUDA_ERROR_CONTEXT_IS_DESTROYED, "it was destroyed");
  const auto mine = [this](const auto& object) { return object.context == this; };
  driver.functions.removeIf([this](const Function& f) { return f.module->context == this; });
  driver.streams.removeIf(mine);
  driver.events.removeIf(mine);
  driver.pools.removeIf(mine);
  driver.modules.removeIf(mine);
  std::lock_guard machineLock(machine);
  std::lock_guard lock(mutex_);
  for (const auto& [address, block] : blocks_)
    if (block.kind != Block::Kind::variable && device.memory.state().find(address)) device.memory.free(address);
  blocks_.clear();
  for (const auto& [address, block] : host_)
    if (!block.registered) retire(address, block.bytes);
  host_.clear();
}

// ---- streams ----

std::shared_ptr<Stream> Context::stream(CUstream handle) {
  if (handle == nullptr || handle == CU_STREAM_LEGACY) return legacy;
  if (handle == CU_STREAM_PER_THREAD) refuse(CUDA_ERROR_NOT_SUPPORTED, "per-thread default streams are not simulated");
  Handles<Stream>& streams = Driver::get().streams;
  std::shared_ptr<Stream> found = streams.get(handle);
  if (!found) {
    finding("handle", streams.everGiven(handle) ? "a stream is used after it was destroyed" : "a stream that was never created is used");
    refuse(CUDA_ERROR_INVALID_HANDLE, "not a stream");
  }
  if (found->context != this) refuse(CUDA_ERROR_INVALID_HANDLE, "a stream of another context");
  return found;
}

void Context::addStream(const std::shared_ptr<Stream>& stream) {
  std::lock_guard lock(mutex_);
  std::erase_if(blockingLanes_, [](const auto& lane) { return lane.expired(); });
  if (stream->blocking()) blockingLanes_.push_back(stream->lane);
}

std::vector<Point> Context::before(const Stream& stream) const {
  if (!stream.blocking()) return {};
  if (&stream != legacy.get()) return {queue.end(legacy->lane)};
  std::vector<Point> points;
  std::lock_guard lock(mutex_);
  for (const auto& lane : blockingLanes_)
    if (const auto l = lane.lock(); l && l != legacy->lane) points.push_back(queue.end(l));
  return points;
}

Point Context::push(const Stream& stream, std::function<void()> run, bool onHost, std::vector<Point> after) {
  for (const Point& point : before(stream)) after.push_back(point);
  return queue.push(stream.lane, {std::move(run), std::move(after), onHost});
}

void Context::wait(const std::vector<Point>& points) {
  queue.wait(points);
  for (const auto& pool : pools()) {
    std::lock_guard lock(pool->mutex);
    if (pool->reserved > pool->threshold) pool->trim(pool->threshold);
  }
}

}  // namespace lantern::simt::driver

using namespace lantern::simt;
using namespace lantern::simt::driver;

// ---- the primary context ----

CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice ordinal) {
  return enter("cuDevicePrimaryCtxRetain", Driver::Stage::initialised, [&] {
    require(context, "no place for the context");
    Driver& driver = Driver::get();
    Device& device = driver.device(ordinal);
    std::lock_guard lock(device.mutex);
    if (!device.primary) driver.configure(false);
    if (driver.lost()) refuse(CUDA_ERROR_UNKNOWN, "the device is lost");
    if (!device.primary) device.primary = static_cast<CUcontext>(driver.contexts.add(std::make_shared<Context>(device, driver.environment)));
    ++device.retained;
    *context = device.primary;
  });
}

static void destroyPrimary(Device& device) {
  if (const auto context = Driver::get().contexts.get(device.primary)) context->destroy();
  Driver::get().contexts.remove(device.primary);
  device.primary = nullptr;
  Driver::get().writeReport();
}

CUresult CUDAAPI cuDevicePrimaryCtxRelease(CUdevice ordinal) {
  return enter("cuDevicePrimaryCtxRelease", Driver::Stage::initialised, [&] {
    Device& device = Driver::get().device(ordinal);
    std::lock_guard lock(device.mutex);
    if (device.retained == 0) refuse(CUDA_ERROR_INVALID_CONTEXT, "the primary context is released more often than retained");
    if (--device.retained == 0 && device.primary) destroyPrimary(device);
  });
}

// What held the old context must retain again: its handle is no longer one.
CUresult CUDAAPI cuDevicePrimaryCtxReset(CUdevice ordinal) {
  return enter("cuDevicePrimaryCtxReset", Driver::Stage::initialised, [&] {
    Device& device = Driver::get().device(ordinal);
    std::lock_guard lock(device.mutex);
    if (device.primary) destroyPrimary(device);
  });
}

CUresult CUDAAPI cuDevicePrimaryCtxSetFlags(CUdevice ordinal, unsigned int flags) {
  return enter("cuDevicePrimaryCtxSetFlags", Driver::Stage::initialised, [&] {
    Device& device = Driver::get().device(ordinal);
    std::lock_guard lock(device.mutex);
    const unsigned known = CU_CTX_SCHED_MASK | CU_CTX_MAP_HOST | CU_CTX_LMEM_RESIZE_TO_MAX;
    require(!(flags & ~known), "unknown context flags");
    if (device.primary && flags != device.flags) refuse(CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE, "flags are set before the context is retained");
    device.flags = flags;
  });
}

CUresult CUDAAPI cuDevicePrimaryCtxGetState(CUdevice ordinal, unsigned int* flags, int* active) {
  return enter("cuDevicePrimaryCtxGetState", Driver::Stage::initialised, [&] {
    require(flags && active, "no place for the state");
    Device& device = Driver::get().device(ordinal);
    std::lock_guard lock(device.mutex);
    *flags = device.flags;
    *active = device.primary != nullptr;
  });
}

// ---- the current context ----

static void requireContext(CUcontext context) {
  if (!Driver::get().contexts.get(context)) refuse(CUDA_ERROR_INVALID_CONTEXT, "not a context, or no longer");
}

CUresult CUDAAPI cuCtxSetCurrent(CUcontext context) {
  return enter("cuCtxSetCurrent", Driver::Stage::initialised, [&] {
    if (context) requireContext(context);
    if (!stack.empty()) stack.pop_back();
    if (context) stack.push_back(context);
  });
}

CUresult CUDAAPI cuCtxPushCurrent(CUcontext context) {
  return enter("cuCtxPushCurrent", Driver::Stage::initialised, [&] {
    requireContext(context);
    stack.push_back(context);
  });
}

CUresult CUDAAPI cuCtxPopCurrent(CUcontext* context) {
  return enter("cuCtxPopCurrent", Driver::Stage::initialised, [&] {
    if (stack.empty()) refuse(CUDA_ERROR_INVALID_CONTEXT, "this thread has no current context");
    if (context) *context = stack.back();
    stack.pop_back();
  });
}

CUresult CUDAAPI cuCtxGetCurrent(CUcontext* context) {
  return enter("cuCtxGetCurrent", Driver::Stage::initialised, [&] {
    require(context, "no place for the context");
    *context = stack.empty() ? nullptr : stack.back();
  });
}

CUresult CUDAAPI cuCtxGetDevice(CUdevice* ordinal) {
  return enter("cuCtxGetDevice", Driver::Stage::initialised, [&] {
    require(ordinal, "no place for the device");
    *ordinal = currentContext()->device.ordinal;
  });
}

// Since 13.0 the name is bound to a function that takes the context.
CUresult CUDAAPI cuCtxGetDevice_v2(CUdevice* ordinal, CUcontext context) {
  return enter("cuCtxGetDevice", Driver::Stage::initialised, [&] {
    require(ordinal, "no place for the device");
    if (context) requireContext(context);
    *ordinal = (context ? Driver::get().contexts.get(context) : currentContext())->device.ordinal;
  });
}

CUresult CUDAAPI cuCtxGetFlags(unsigned int* flags) {
  return enter("cuCtxGetFlags", Driver::Stage::initialised, [&] {
    require(flags, "no place for the flags");
    *flags = currentContext()->device.flags;
  });
}

CUresult CUDAAPI cuCtxGetApiVersion(CUcontext context, unsigned int* version) {
  return enter("cuCtxGetApiVersion", Driver::Stage::initialised, [&] {
    require(version, "no place for the version");
    requireContext(context);
    *version = 3020;
  });
}

CUresult CUDAAPI cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  return inContext("cuCtxGetStreamPriorityRange", [&](Context&) {
    if (least) *least = 0;
    if (greatest) *greatest = -5;
  });
}

CUresult CUDAAPI cuCtxSynchronize() {
  return inContext("cuCtxSynchronize", [](Context& c) { c.wait(c.queue.ends()); });
}

CUresult CUDAAPI cuCtxSynchronize_v2(CUcontext context) {
  return enter("cuCtxSynchronize", Driver::Stage::initialised, [&] {
    if (context) requireContext(context);
    const auto c = context ? Driver::get().contexts.get(context) : currentContext();
    c->wait(c->queue.ends());
    if (c->failure() != CUDA_SUCCESS) c->refuseAsFailed();
  });
}
