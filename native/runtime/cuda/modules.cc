#include "modules.h"

namespace lantern::cuda {

struct Embedded {  // one fatbin: scripts/fatbin.mjs writes one into the section lanternFatbins for every .cu file
  const char* stem;
  const void* image;
  int64_t toolkit;
};

#ifdef LANTERN_CUDA  // there was an nvcc
extern "C" __attribute__((visibility("hidden"))) const Embedded __start_lanternFatbins[], __stop_lanternFatbins[];
static const Embedded *const kBegin = __start_lanternFatbins, *const kEnd = __stop_lanternFatbins;
#else
static const Embedded *const kBegin = nullptr, *const kEnd = nullptr;
#endif

int toolkitVersion() { return kBegin == kEnd ? 0 : int(kBegin->toolkit); }

Modules::~Modules() {
  for (const auto& [stem, module] : modules_) driver().cuModuleUnload(module);
}

CUresult Modules::load(std::string_view entry, Function& function, const char*& what) {
  const std::string_view stem = entry.substr(0, entry.find('_'));
  auto module = modules_.find(stem);
  if (module == modules_.end()) {
    what = "cuModuleLoadData";
    const Embedded* e = kBegin;
    while (e != kEnd && e->stem != stem) ++e;
    if (e == kEnd) return CUDA_ERROR_NOT_FOUND;
    CUmodule loaded = nullptr;
    if (const CUresult result = driver().cuModuleLoadData(&loaded, e->image); result != CUDA_SUCCESS) return result;
    module = modules_.emplace(stem, loaded).first;
  }
  what = "cuModuleGetFunction";
  if (const CUresult result = driver().cuModuleGetFunction(&function.handle, module->second, std::string(entry).c_str()); result != CUDA_SUCCESS)
    return result;
  what = "cuFuncGetAttribute";
  int bytes = 0;
  const CUresult result = driver().cuFuncGetAttribute(&bytes, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, function.handle);
  function.dynamicShared = size_t(bytes);
  return result;
}

CUresult Modules::find(std::string_view entry, size_t dynamicShared, Function*& function, const char*& what) {
  auto found = functions_.find(entry);
  if (found == functions_.end()) {
    Function loaded;
    if (const CUresult result = load(entry, loaded, what); result != CUDA_SUCCESS) return result;
    found = functions_.emplace(entry, loaded).first;
  }
  function = &found->second;
  if (dynamicShared <= function->dynamicShared) return CUDA_SUCCESS;
  what = "cuFuncSetAttribute";
  const CUresult result = driver().cuFuncSetAttribute(function->handle, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, int(dynamicShared));
  if (result == CUDA_SUCCESS) function->dynamicShared = dynamicShared;
  return result;
}

}  // namespace lantern::cuda
