// The driver as a whole: settings, faults, the bookkeeping around every call.
#include "driver.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace lantern::simt::driver {

thread_local bool inHostFunction = false;

Driver& Driver::get() {
  static Driver& driver = *new Driver;
  return driver;
}

Driver::Driver() {
  configure(true);
  watchExit();
}

void Driver::configure(bool remakeDevices) {
  if (!contexts.all().empty()) return;
  const int hadDevices = environment.devices, capability = environment.capability;
  const uint64_t memory = environment.memory;
  try {
    environment = Environment::read();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "simt: %s\n", e.what());
    std::abort();
  }
  counts.calls = counts.allocations = counts.hostAllocations = counts.launches = counts.executions = 0;
  lost_ = false;
  if (!remakeDevices) {
    environment.devices = hadDevices, environment.capability = capability, environment.memory = memory;
  } else {
    const Gpu* gpu = gpuOf(environment.capability);
    if (!gpu) {
      std::fprintf(stderr, "simt: LANTERN_SIMT_CAPABILITY=%d is none of 75, 80, 86, 89, 90, 100, 120\n", environment.capability);
      std::abort();
    }
    devices.clear();
    for (int i = 0; i < environment.devices; ++i) devices.push_back(std::make_unique<Device>(i, environment.devices, *gpu, environment.memory));
  }
  const char* const schedules[] = {"forward", "reverse", "random"};
  const char* const orders[] = {"late", "random", "eager"};
  reports.note("pid", std::to_string(getpid()));
  reports.note("seed", std::to_string(environment.seed));
  reports.note("schedule", schedules[int(environment.options.schedule)]);
  reports.note("streams", orders[int(environment.order)]);
  reports.note("capability", std::to_string(environment.capability));
}

Device& Driver::device(CUdevice ordinal) {
  if (ordinal < 0 || size_t(ordinal) >= devices.size()) refuse(CUDA_ERROR_INVALID_DEVICE, "no device " + std::to_string(ordinal));
  return *devices[size_t(ordinal)];
}

void Driver::log(const std::string& line) const {
  if (environment.logErrors) std::fprintf(stderr, "simt: %s\n", line.c_str());
}

std::string Driver::lastError() const {
  std::lock_guard lock(mutex_);
  return lastError_;
}

CUresult Driver::admit(const char* entry, Stage stage) {
  const uint64_t call = ++counts.calls;
  reports.called(entry);
  if (environment.logCalls) std::fprintf(stderr, "simt: call %llu: %s\n", static_cast<unsigned long long>(call), entry);
  if (inHostFunction) return CUDA_ERROR_NOT_PERMITTED;
  if (call == environment.faults.lose) {
    lost_ = true;
    log("fault: the device is lost at call " + std::to_string(call) + ", " + entry);
    for (const auto& context : contexts.all()) context->fail(CUDA_ERROR_UNKNOWN, "the device is lost");
  }
  return stage == Stage::initialised && !initialised ? CUDA_ERROR_NOT_INITIALIZED : CUDA_SUCCESS;
}

CUresult Driver::finish(const char* entry, CUresult result, const std::string& why, bool known) {
  if (result == CUDA_SUCCESS || result == CUDA_ERROR_NOT_READY) return result;
  const char* name = nameOf(result);
  const std::string line = std::string(entry) + ": " + (name ? name : "error " + std::to_string(int(result))) + (why.empty() ? "" : ": " + why);
  {
    std::lock_guard lock(mutex_);
    lastError_ = line;
  }
  if (!known) log(line);
  return result;
}

}  // namespace lantern::simt::driver
