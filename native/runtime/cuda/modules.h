// The compiled kernels inside the addon, and the functions they hold, on one device.
#pragma once
#include <string>
#include <string_view>
#include <unordered_map>

#include "driver.h"

namespace lantern::cuda {

// The CUDA version of the nvcc that built the kernels, as 13000; 0: there was none, and there are no kernels.
int toolkitVersion();

struct Function {
  CUfunction handle = nullptr;
  size_t dynamicShared = 0;  // bytes that a launch may ask for as it is set up now
};

// Modules are loaded at the first use of one of their entry points. The context must be current.
class Modules {
 public:
  Modules() = default;
  Modules(const Modules&) = delete;
  ~Modules();

  // An entry point, set up for that much dynamic shared memory. `what` names the driver's function that failed.
  CUresult find(std::string_view entry, size_t dynamicShared, Function*& function, const char*& what);

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };
  template <class T>
  using Named = std::unordered_map<std::string, T, Hash, std::equal_to<>>;

  CUresult load(std::string_view entry, Function& function, const char*& what);

  Named<CUmodule> modules_;  // by stem
  Named<Function> functions_;
};

}  // namespace lantern::cuda
