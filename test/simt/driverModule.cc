// Modules, and what they hold.
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "driver.h"

namespace lantern::simt::driver {

namespace {

// The CUDA version that a PTX version came with: 7.0 with 11.0, 8.0 with 12.0, 9.0 with 13.0, and the minor versions likewise.
int toolkitOf(const std::string& ptx) {
  const size_t p = ptx.find(".version ");
  const double version = p == std::string::npos ? 0 : std::atof(ptx.c_str() + p + 9);
  const int tenths = int(version * 10 + 0.5);
  return (tenths / 10 + 4) * 1000 + tenths % 10 * 10;
}

// The kernels of the cubin that a device would run, and those of the PTX that is run here, must be made of the same source.
void compare(const Cubin& cubin, const Module& module) {
  for (const std::string& name : module.kernelNames()) {
    const Kernel& kernel = *module.kernel(name);
    const auto found = cubin.kernels.find(name);
    if (found == cubin.kernels.end()) refuse(CUDA_ERROR_INVALID_IMAGE, "the cubin has no kernel " + name + ", the PTX has");
    if (found->second.maxThreads != kernel.maxThreads) refuse(CUDA_ERROR_INVALID_IMAGE, name + ": cubin and PTX differ in their launch bounds");
  }
  if (cubin.kernels.size() != module.kernelNames().size()) refuse(CUDA_ERROR_INVALID_IMAGE, "the cubin has kernels that the PTX has not");
}

// The module's name is what its kernels' names begin with, up to the first underscore.
std::string nameOf(const std::string& ptx) {
  constexpr std::string_view kEntry = ".entry ";
  const size_t p = ptx.find(kEntry);
  if (p == std::string::npos) return "";
  const size_t begin = p + kEntry.size();
  return ptx.substr(begin, ptx.find_first_of("_( ", begin) - begin);
}

void load(Context& c, CUmodule* handle, const void* image) {
  require(handle && image, "no image, or no place for the module");
  Fatbin fatbin = Fatbin::read(image);
  const auto& replacements = c.environment.replacements;
  if (const auto r = replacements.find(nameOf(fatbin.ptx)); r != replacements.end()) fatbin.ptx = r->second;
  *handle = static_cast<CUmodule>(Driver::get().modules.add(std::make_shared<LoadedModule>(c, std::move(fatbin))));
}

std::shared_ptr<LoadedModule> moduleOf(Context& c, CUmodule handle) {
  Handles<LoadedModule>& modules = Driver::get().modules;
  std::shared_ptr<LoadedModule> found = modules.get(handle);
  if (!found) {
    c.finding("handle", modules.everGiven(handle) ? "a module is used after it was unloaded" : "a module that was never loaded is used");
    refuse(CUDA_ERROR_INVALID_HANDLE, "not a module");
  }
  if (found->context != &c) refuse(CUDA_ERROR_INVALID_HANDLE, "a module of another context");
  return found;
}

// Logs are all that is asked of a compiler that does not compile.
void readOptions(unsigned count, const CUjit_option* options, void** values) {
  require(count == 0 || (options && values), "options without names or values");
  for (unsigned i = 0; i < count; ++i) switch (options[i]) {
      case CU_JIT_INFO_LOG_BUFFER:
      case CU_JIT_ERROR_LOG_BUFFER:
        if (values[i]) *static_cast<char*>(values[i]) = 0;
        break;
      case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
      case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
      case CU_JIT_LOG_VERBOSE: break;
      default: refuse(CUDA_ERROR_INVALID_VALUE, "compiler option " + std::to_string(int(options[i])) + " is unknown here");
    }
}

}  // namespace

LoadedModule::LoadedModule(Context& context, Fatbin image)
    : context(&context), fatbin(std::move(image)), cubin(fatbin.cubinFor(context.device.gpu.capability)) {
  const int driverVersion = context.environment.driverVersion, capability = context.device.gpu.capability;
  if (fatbin.ptx.empty()) refuse(CUDA_ERROR_NO_BINARY_FOR_GPU, "no PTX is embedded, and nothing else can be executed here");
  const int toolkit = toolkitOf(fatbin.ptx);
  if (driverVersion / 1000 < toolkit / 1000 || (!cubin && driverVersion < toolkit))
    refuse(CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
           "the image is of CUDA " + std::to_string(toolkit) + ", the driver of " + std::to_string(driverVersion));
  if (!cubin && capability < fatbin.ptxArchitecture)
    refuse(CUDA_ERROR_NO_BINARY_FOR_GPU,
           "the image is for sm_" + std::to_string(fatbin.ptxArchitecture) + ", the device is sm_" + std::to_string(capability));
  std::lock_guard lock(context.machine);
  module = Module::load(fatbin.ptx, context.device.memory);
  if (cubin) compare(*cubin, *module);
  Driver::get().reports.loaded(fatbin, *module);
}

LoadedModule::~LoadedModule() {
  std::lock_guard lock(Driver::get().machine);
  module.reset();
}

}  // namespace lantern::simt::driver

using namespace lantern::simt;
using namespace lantern::simt::driver;

CUresult CUDAAPI cuModuleLoadData(CUmodule* module, const void* image) {
  return creating("cuModuleLoadData", [&](Context& c) { load(c, module, image); });
}

CUresult CUDAAPI cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned int count, CUjit_option* options, void** values) {
  return creating("cuModuleLoadDataEx", [&](Context& c) {
    readOptions(count, options, values);
    load(c, module, image);
  });
}

CUresult CUDAAPI cuModuleLoadFatBinary(CUmodule* module, const void* image) {
  return creating("cuModuleLoadFatBinary", [&](Context& c) { load(c, module, image); });
}

CUresult CUDAAPI cuModuleLoad(CUmodule* module, const char* path) {
  return creating("cuModuleLoad", [&](Context& c) {
    require(path, "no path");
    std::ifstream file(path, std::ios::binary);
    if (!file) refuse(CUDA_ERROR_FILE_NOT_FOUND, path);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    load(c, module, bytes.c_str());
  });
}

CUresult CUDAAPI cuModuleUnload(CUmodule handle) {
  return inContext("cuModuleUnload", [&](Context& c) {
    const auto module = moduleOf(c, handle);
    if (module->enqueued) c.finding("unsynchronised unload", "a module is unloaded while launches of its kernels are enqueued");
    Driver::get().functions.removeIf([&](const Function& f) { return f.module == module; });
    for (const uint64_t address : module->exposed) c.removeVariable(address);
    Driver::get().modules.remove(handle);
  }, true);
}

CUresult CUDAAPI cuModuleGetFunction(CUfunction* function, CUmodule handle, const char* name) {
  return inContext("cuModuleGetFunction", [&](Context& c) {
    require(function && name, "no name, or no place for the function");
    const auto module = moduleOf(c, handle);
    const Kernel* kernel = module->module->kernel(name);
    if (!kernel) refuse(CUDA_ERROR_NOT_FOUND, std::string("no kernel ") + name);
    std::lock_guard lock(module->mutex);
    CUfunction& known = module->functions[name];  // one function has one handle
    if (known) return void(*function = known);
    const auto f = std::make_shared<Function>();
    f->module = module;
    f->handle = handle;
    f->kernel = kernel;
    if (module->cubin) f->resources = &module->cubin->kernels.at(name);
    f->maxDynamicShared = kSharedWithoutOptIn - int(kernel->staticShared);
    *function = known = static_cast<CUfunction>(Driver::get().functions.add(f));
  });
}

CUresult CUDAAPI cuModuleGetGlobal(CUdeviceptr* p, size_t* bytes, CUmodule handle, const char* name) {
  return inContext("cuModuleGetGlobal", [&](Context& c) {
    require(name, "no name");
    const auto module = moduleOf(c, handle);
    const Module::Variable* variable = module->module->variable(name);
    if (!variable) refuse(CUDA_ERROR_NOT_FOUND, std::string("no variable ") + name);
    std::lock_guard lock(module->mutex);
    if (module->exposed.insert(variable->address).second)
      c.addBlock(variable->address, {Block::Kind::variable, variable->bytes, std::string("variable ") + name, nullptr});
    if (p) *p = variable->address;
    if (bytes) *bytes = variable->bytes;
  });
}

CUresult CUDAAPI cuModuleGetLoadingMode(CUmoduleLoadingMode* mode) {
  return enter("cuModuleGetLoadingMode", Driver::Stage::initialised, [&] {
    require(mode, "no place for the mode");
    *mode = CU_MODULE_EAGER_LOADING;
  });
}
