// The module: what it was built with, the kernels there are, the GPUs that can be used, and the device class.
#include "../runtime/cpu/dispatch.h"
#include "../runtime/cuda/devices.h"
#include "../runtime/stream.h"
#include "device.h"

namespace lantern {

namespace {

Napi::Value kernels(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const InstructionSet& set = *dispatch().chosen;
  Napi::Array list = Napi::Array::New(env, size_t(set.kernelCount));
  for (int i = 0; i < set.kernelCount; ++i) {
    const Kernel& k = set.kernels[i];
    Napi::Array fields = Napi::Array::New(env, size_t(k.fieldCount));
    for (int f = 0; f < k.fieldCount; ++f) {
      Napi::Object field = Napi::Object::New(env);
      field.Set("name", k.fields[f].name);
      field.Set("kind", std::string(1, k.fields[f].kind));
      fields.Set(uint32_t(f), field);
    }
    Napi::Object kernel = Napi::Object::New(env);
    kernel.Set("name", k.name);
    kernel.Set("fields", fields);
    list.Set(uint32_t(i), kernel);
  }
  return list;
}

Napi::Value describe(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Dispatch& d = dispatch();
  Napi::Object o = Napi::Object::New(env);
  o.Set("processor", processorName());
  o.Set("instructionSet", d.chosen->name);
  o.Set("reason", d.reason);
  Napi::Array sets = Napi::Array::New(env);
  for (const auto& set : d.sets) {
    Napi::Object s = Napi::Object::New(env);
    s.Set("name", set.name);
    s.Set("supported", set.supported);
    s.Set("why", set.why);
    sets.Set(sets.Length(), s);
  }
  o.Set("instructionSets", sets);
  o.Set("hardwareThreads", double(std::thread::hardware_concurrency()));
  o.Set("compiler", "C++ " __VERSION__);
  o.Set("builder", LANTERN_BUILDER);
  o.Set("maxParams", double(Stream::kMaxParams));
  return o;
}

// Starts the driver at the first call; describe() does not.
Napi::Value describeCuda(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const cuda::Discovery& found = cuda::discover();
  Napi::Object o = Napi::Object::New(env);
  o.Set("toolkit", double(found.toolkit));
  o.Set("driver", double(found.driver));
  o.Set("reason", found.reason);
  Napi::Array gpus = Napi::Array::New(env);
  for (const cuda::GpuInfo& gpu : found.gpus) {
    Napi::Object g = Napi::Object::New(env);
    g.Set("name", gpu.name);
    g.Set("computeCapability", double(gpu.computeCapability) / 10);
    g.Set("multiprocessors", double(gpu.multiprocessors));
    g.Set("memory", double(gpu.memory));
    g.Set("supported", gpu.why.empty());
    g.Set("why", gpu.why);
    gpus.Set(uint32_t(gpu.ordinal), g);
  }
  o.Set("gpus", gpus);
  return o;
}

}  // namespace

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("kernels", Napi::Function::New<kernels>(env));
  exports.Set("describe", Napi::Function::New<describe>(env));
  exports.Set("cuda", Napi::Function::New<describeCuda>(env));
  exports.Set("NativeDevice", NativeDevice::define(env));
  return exports;
}

}  // namespace lantern

static Napi::Object init(Napi::Env env, Napi::Object exports) { return lantern::init(env, exports); }
NODE_API_MODULE(lantern, init)
