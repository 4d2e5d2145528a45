// The JavaScript object behind lib/tensor/device.ts: a stream, its allocator, and the promises that wait for it.
#pragma once
#include <napi.h>

#include <memory>

#include "../runtime/allocator.h"
#include "../runtime/pages.h"
#include "../runtime/stream.h"

namespace lantern {

class NativeDevice : public Napi::ObjectWrap<NativeDevice> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit NativeDevice(const Napi::CallbackInfo& info);
  ~NativeDevice() override;

 private:
  struct Pages : MemorySource {  // gives pages back in stream order
    NativeDevice& device;
    explicit Pages(NativeDevice& d) : device(d) {}
    void* map(size_t bytes) override { return mapPages(bytes); }
    void unmap(void* p, size_t bytes) override {
      if (device.stream_) device.stream_->host([p, bytes] { unmapPages(p, bytes); });
      else unmapPages(p, bytes);
    }
  };
  struct Pending;  // a promise on its way through the stream

  Napi::Value allocate(const Napi::CallbackInfo& info);     // (bytes) -> address, 0 when out of memory
  void free(const Napi::CallbackInfo& info);                // (address)
  void launch(const Napi::CallbackInfo& info);              // (kernel index); parameters are in the shared buffer
  void upload(const Napi::CallbackInfo& info);              // (address, Uint8Array)
  Napi::Value download(const Napi::CallbackInfo& info);     // (address, bytes) -> Promise<ArrayBuffer>
  Napi::Value synchronize(const Napi::CallbackInfo& info);  // () -> Promise<void>
  Napi::Value memory(const Napi::CallbackInfo& info);       // () -> { live, peak, reserved, workspace, budget }
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
  static void atExit(void* self);  // the executor must not outlive the environment

  std::unique_ptr<Stream> stream_;
  Pages pages_{*this};
  Allocator allocator_;
  Napi::Reference<Napi::Uint8Array> paramsReference_;
  const unsigned char* params_ = nullptr;
  Napi::ThreadSafeFunction settler_;
  napi_env env_ = nullptr;
  int pending_ = 0;
};

Napi::Value toError(Napi::Env env, const Status& status);

}  // namespace lantern
