// Functions: their attributes, their occupancy, and launches.
#include <cstring>

#include "driver.h"

namespace lantern::simt::driver {

namespace {

std::shared_ptr<Function> functionOf(Context& c, CUfunction handle) {
  Handles<Function>& functions = Driver::get().functions;
  std::shared_ptr<Function> found = functions.get(handle);
  if (!found) {
    c.finding("handle", functions.everGiven(handle) ? "a function is used after its module was unloaded" : "what is no function is launched");
    refuse(CUDA_ERROR_INVALID_HANDLE, "not a function");
  }
  if (found->module->context != &c) refuse(CUDA_ERROR_INVALID_HANDLE, "a function of another context");
  return found;
}

const Resources& resourcesOf(const Function& f) {
  if (!f.resources) refuse(CUDA_ERROR_NOT_SUPPORTED, f.kernel->name + " has no cubin for this device, so nobody knows its registers");
  return *f.resources;
}

int maxThreads(const Function& f) {
  int most = f.kernel->maxThreads ? int(f.kernel->maxThreads) : kThreadsPerBlock;
  if (f.resources)
    while (most > 32 && registersOf(*f.resources, most) > kRegisters) most -= 32;
  return most;
}

int attributeOf(const Function& f, CUfunction_attribute attribute) {
  switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: return maxThreads(f);
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: return int(f.kernel->staticShared);
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES: return 0;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: return int(resourcesOf(f).stackBytes);
    case CU_FUNC_ATTRIBUTE_NUM_REGS: return int(resourcesOf(f).registers);
    case CU_FUNC_ATTRIBUTE_PTX_VERSION: return f.module->fatbin.ptxArchitecture;
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION: return f.module->cubin ? f.module->cubin->architecture : f.module->context->device.gpu.capability;
    case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA: return 0;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: return f.maxDynamicShared;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: return f.carveout;
    default: refuse(CUDA_ERROR_INVALID_VALUE, "function attribute " + std::to_string(int(attribute)) + " is unknown here");
  }
}

void setAttribute(Function& f, CUfunction_attribute attribute, int value) {
  switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      require(value >= 0 && value <= f.module->context->device.gpu.sharedPerBlock - int(f.kernel->staticShared), "more than a block can have");
      f.maxDynamicShared = value;
      return;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      require(value >= -1 && value <= 100, "a share in percent, or -1");
      f.carveout = value;
      return;
    default: refuse(CUDA_ERROR_INVALID_VALUE, "function attribute " + std::to_string(int(attribute)) + " cannot be set");
  }
}

void requireWithin(const char* what, const unsigned (&asked)[3], const int (&most)[3]) {
  for (int i = 0; i < 3; ++i)
    if (asked[i] < 1 || asked[i] > unsigned(most[i]))
      refuse(CUDA_ERROR_INVALID_VALUE, std::string(what) + "." + "xyz"[i] + " is " + std::to_string(asked[i]) + ", it must be 1 to " +
                                           std::to_string(most[i]));
}

void requireFits(const Function& f, const unsigned (&grid)[3], const unsigned (&block)[3], unsigned dynamicShared) {
  const std::string& name = f.kernel->name;
  requireWithin("grid", grid, kMaxGrid);
  requireWithin("block", block, kMaxBlock);
  const uint64_t threads = uint64_t(block[0]) * block[1] * block[2];
  const uint64_t bound = f.kernel->maxThreads ? f.kernel->maxThreads : kThreadsPerBlock;
  if (threads > bound)
    refuse(CUDA_ERROR_INVALID_VALUE, name + ": " + std::to_string(threads) + " threads, it was compiled for at most " + std::to_string(bound));
  if (dynamicShared > unsigned(f.maxDynamicShared))
    refuse(CUDA_ERROR_INVALID_VALUE, name + ": " + std::to_string(dynamicShared) + " bytes of dynamic shared memory, " +
                                         std::to_string(f.maxDynamicShared) + " are allowed (CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)");
  if (f.resources && registersOf(*f.resources, int(threads)) > kRegisters)
    refuse(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
           name + ": " + std::to_string(f.resources->registers) + " registers for each of " + std::to_string(threads) + " threads");
}

std::vector<std::byte> readParams(const Kernel& kernel, void** params, void** extra) {
  require(!extra, "parameters in one buffer (extra) are not simulated");
  require(params || kernel.params.empty(), "no parameters");
  std::vector<std::byte> bytes(kernel.paramBytes);
  for (size_t i = 0; i < kernel.params.size(); ++i) {
    require(params[i], "a null pointer among the parameters");
    std::memcpy(&bytes[kernel.params[i].offset], params[i], kernel.params[i].bytes);
  }
  return bytes;
}

void execute(Context& c, const Function& f, const Launch& launch) {
  Driver& driver = Driver::get();
  const uint64_t n = ++driver.counts.executions;
  if (c.environment.faults.execution.hits(n)) refuse(CUDA_ERROR_LAUNCH_FAILED, "fault: execution " + std::to_string(n) + ", " + f.kernel->name);
  Options options = c.environment.options;
  options.seed += n * 0x9e3779b97f4a7c15;  // another order at every launch
  Report report;
  try {
    simt::launch(*f.kernel, c.device.memory, launch, options, report);
  } catch (const std::exception& e) {
    driver.reports.failed(f.kernel->name + ": " + e.what());
    throw;
  }
  driver.reports.launched(report);
  if (report.findings.empty()) return;
  for (const Finding& found : report.findings) driver.log("finding: " + found.kind + " (" + std::to_string(found.count) + "): " + found.what);
  if (c.environment.failOnFindings)
    refuse(CUDA_ERROR_LAUNCH_FAILED, f.kernel->name + ": " + report.findings.front().kind + ": " + report.findings.front().what);
}

void launch(Context& c, CUfunction handle, const unsigned (&grid)[3], const unsigned (&block)[3], unsigned dynamicShared, CUstream streamHandle,
            void** params, void** extra) {
  Driver& driver = Driver::get();
  const auto f = functionOf(c, handle);
  const auto stream = c.stream(streamHandle);
  const uint64_t n = ++driver.counts.launches;
  if (c.environment.faults.launch.hits(n)) refuse(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "fault: launch " + std::to_string(n) + ", " + f->kernel->name);
  requireFits(*f, grid, block, dynamicShared);
  const auto bytes = std::make_shared<const std::vector<std::byte>>(readParams(*f->kernel, params, extra));
  const Launch launch{{grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, dynamicShared, *bytes};
  ++f->module->enqueued;
  const std::shared_ptr<void> counted(nullptr, [module = f->module](void*) { --module->enqueued; });
  c.push(*stream, [&c, f, launch, bytes, counted] { execute(c, *f, launch); });
}

int activeBlocks(const Function& f, int threads, size_t dynamicShared) {
  require(threads > 0, "a block has threads");
  return occupancy(f.module->context->device.gpu, resourcesOf(f), threads, int(dynamicShared)).blocks;
}

}  // namespace

}  // namespace lantern::simt::driver

using namespace lantern::simt::driver;

CUresult CUDAAPI cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction function) {
  return inContext("cuFuncGetAttribute", [&](Context& c) {
    require(value, "no place for the value");
    *value = attributeOf(*functionOf(c, function), attribute);
  });
}

CUresult CUDAAPI cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
  return inContext("cuFuncSetAttribute", [&](Context& c) { setAttribute(*functionOf(c, function), attribute, value); });
}

CUresult CUDAAPI cuFuncGetName(const char** name, CUfunction function) {
  return inContext("cuFuncGetName", [&](Context& c) {
    require(name, "no place for the name");
    *name = functionOf(c, function)->kernel->name.c_str();
  });
}

CUresult CUDAAPI cuFuncGetModule(CUmodule* module, CUfunction function) {
  return inContext("cuFuncGetModule", [&](Context& c) {
    require(module, "no place for the module");
    *module = functionOf(c, function)->handle;
  });
}

CUresult CUDAAPI cuFuncLoad(CUfunction function) {
  return inContext("cuFuncLoad", [&](Context& c) { functionOf(c, function); });
}

CUresult CUDAAPI cuFuncIsLoaded(CUfunctionLoadingState* state, CUfunction function) {
  return inContext("cuFuncIsLoaded", [&](Context& c) {
    require(state, "no place for the state");
    functionOf(c, function);
    *state = CU_FUNCTION_LOADING_STATE_LOADED;
  });
}

CUresult CUDAAPI cuLaunchKernel(CUfunction function, unsigned int gridX, unsigned int gridY, unsigned int gridZ, unsigned int blockX,
                                unsigned int blockY, unsigned int blockZ, unsigned int dynamicShared, CUstream stream, void** params, void** extra) {
  return inContext("cuLaunchKernel", [&](Context& c) {
    launch(c, function, {gridX, gridY, gridZ}, {blockX, blockY, blockZ}, dynamicShared, stream, params, extra);
  });
}

CUresult CUDAAPI cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** params, void** extra) {
  return inContext("cuLaunchKernelEx", [&](Context& c) {
    require(config, "no configuration");
    require(config->numAttrs == 0 || config->attrs, "attributes are announced, but not there");
    for (unsigned i = 0; i < config->numAttrs; ++i)
      if (config->attrs[i].id != CU_LAUNCH_ATTRIBUTE_IGNORE && config->attrs[i].id != CU_LAUNCH_ATTRIBUTE_PRIORITY)
        refuse(CUDA_ERROR_NOT_SUPPORTED, "launch attribute " + std::to_string(int(config->attrs[i].id)) + " is not simulated");
    launch(c, function, {config->gridDimX, config->gridDimY, config->gridDimZ}, {config->blockDimX, config->blockDimY, config->blockDimZ},
           config->sharedMemBytes, config->hStream, params, extra);
  });
}

CUresult CUDAAPI cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction function, int threads, size_t dynamicShared) {
  return inContext("cuOccupancyMaxActiveBlocksPerMultiprocessor", [&](Context& c) {
    require(blocks, "no place for the count");
    *blocks = activeBlocks(*functionOf(c, function), threads, dynamicShared);
  });
}

CUresult CUDAAPI cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction function, int threads, size_t dynamicShared,
                                                                      unsigned int flags) {
  return inContext("cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags", [&](Context& c) {
    require(blocks, "no place for the count");
    require(flags == CU_OCCUPANCY_DEFAULT, "unknown flags");
    *blocks = activeBlocks(*functionOf(c, function), threads, dynamicShared);
  });
}
