// The JavaScript object behind lib/tensor/device.ts: a backend, and the promises that wait for it.
#pragma once
#include <napi.h>

#include <memory>

#include "../runtime/backend.h"

namespace lantern {

class NativeDevice : public Napi::ObjectWrap<NativeDevice> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit NativeDevice(const Napi::CallbackInfo& info);
  ~NativeDevice() override;

 private:
  struct Pending;  // a promise on its way through the backend

  Napi::Value name(const Napi::CallbackInfo& info);
  Napi::Value allocate(const Napi::CallbackInfo& info);     // (bytes) -> address, 0 when out of memory
  void free(const Napi::CallbackInfo& info);                // (address)
  void launch(const Napi::CallbackInfo& info);              // (kernel index); parameters are in the shared buffer
  void upload(const Napi::CallbackInfo& info);              // (address, Uint8Array)
  void uploadMapped(const Napi::CallbackInfo& info);        // (address, address in a mapped file, bytes)
  Napi::Value download(const Napi::CallbackInfo& info);     // (address, bytes) -> Promise<ArrayBuffer>
  Napi::Value synchronize(const Napi::CallbackInfo& info);  // () -> Promise<void>
  Napi::Value memory(const Napi::CallbackInfo& info);       // () -> { live, peak, reserved, workspace, budget, launched }
  void resetPeak(const Napi::CallbackInfo& info);
  void profile(const Napi::CallbackInfo& info);             // (on)
  Napi::Value timings(const Napi::CallbackInfo& info);      // () -> { [kernel]: { calls, seconds } }
  void releaseUnused(const Napi::CallbackInfo& info);
  Napi::Value mapFile(const Napi::CallbackInfo& info);      // (path) -> { address, bytes }
  void unmapFile(const Napi::CallbackInfo& info);           // (address, bytes), in stream order
  void close(const Napi::CallbackInfo& info);

  Napi::Value wait(Napi::Env env, size_t bytes, const void* from);
  void settle(Napi::Env env, Pending* pending);
  void stop();
  static void atExit(void* self);  // the backend's threads must not outlive the environment

  std::unique_ptr<Backend> backend_;  // nullptr once it is closed
  Napi::Reference<Napi::Uint8Array> paramsReference_;
  const unsigned char* params_ = nullptr;
  Napi::ThreadSafeFunction settler_;
  napi_env env_ = nullptr;
  int pending_ = 0;
  int64_t downloads_ = 0;
};

Napi::Value toError(Napi::Env env, const Status& status);

}  // namespace lantern
