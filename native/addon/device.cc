#include "device.h"

#include <cstdlib>

namespace lantern {

namespace {

const char* codeName(Code code) {
  switch (code) {
    case Code::ok: return "OK";
    case Code::invalidArgument: return "ERR_INVALID_ARGUMENT";
    case Code::outOfRange: return "ERR_OUT_OF_RANGE";
    case Code::outOfMemory: return "ERR_OUT_OF_MEMORY";
    case Code::io: return "ERR_IO";
    case Code::device: return "ERR_DEVICE";
    case Code::deviceLost: return "ERR_DEVICE_LOST";
  }
  return "ERR_DEVICE";
}

void* address(const Napi::Value& v) { return reinterpret_cast<void*>(uintptr_t(v.As<Napi::Number>().DoubleValue())); }
size_t size(const Napi::Value& v) { return size_t(v.As<Napi::Number>().DoubleValue()); }
Napi::Number number(Napi::Env env, size_t n) { return Napi::Number::New(env, double(n)); }

void raise(Napi::Env env, const Status& status) {
  if (!status.ok()) Napi::Error(env, toError(env, status)).ThrowAsJavaScriptException();
}

}  // namespace

Napi::Value toError(Napi::Env env, const Status& status) {
  Napi::Error error = Napi::Error::New(env, status.message);
  error.Value().Set("code", codeName(status.code));
  return error.Value();
}

struct NativeDevice::Pending {
  NativeDevice* device;
  Napi::Promise::Deferred deferred;
  size_t bytes;
  void* copy;
  int64_t number;  // of the download
  Status status;
};

Napi::Function NativeDevice::define(Napi::Env env) {
  return DefineClass(env, "NativeDevice",
                     {InstanceMethod<&NativeDevice::name>("name"), InstanceMethod<&NativeDevice::allocate>("allocate"),
                      InstanceMethod<&NativeDevice::free>("free"), InstanceMethod<&NativeDevice::launch>("launch"),
                      InstanceMethod<&NativeDevice::upload>("upload"), InstanceMethod<&NativeDevice::uploadMapped>("uploadMapped"),
                      InstanceMethod<&NativeDevice::download>("download"), InstanceMethod<&NativeDevice::synchronize>("synchronize"),
                      InstanceMethod<&NativeDevice::memory>("memory"), InstanceMethod<&NativeDevice::resetPeak>("resetPeak"),
                      InstanceMethod<&NativeDevice::profile>("profile"), InstanceMethod<&NativeDevice::timings>("timings"),
                      InstanceMethod<&NativeDevice::releaseUnused>("releaseUnused"), InstanceMethod<&NativeDevice::mapFile>("mapFile"),
                      InstanceMethod<&NativeDevice::unmapFile>("unmapFile"), InstanceMethod<&NativeDevice::close>("close")});
}

// (ordinal of the GPU or -1 for the CPU, threads of the CPU, budget in bytes or 0, parameter buffer shared with TypeScript)
NativeDevice::NativeDevice(const Napi::CallbackInfo& info) : Napi::ObjectWrap<NativeDevice>(info) {
  const int ordinal = info[0].As<Napi::Number>().Int32Value();
  if (ordinal < 0) backend_ = openCpu(int(size(info[1])), size(info[2]));
  else raise(info.Env(), openCuda(ordinal, size(info[2]), backend_));
  if (!backend_) return;  // the exception reaches the caller
  const auto params = info[3].As<Napi::Uint8Array>();
  paramsReference_ = Napi::Persistent(params);
  params_ = params.Data();
  settler_ = Napi::ThreadSafeFunction::New(info.Env(), Napi::Function(), "lantern", 0, 1);
  settler_.Unref(info.Env());
  env_ = info.Env();
  napi_add_env_cleanup_hook(env_, &NativeDevice::atExit, this);
}

NativeDevice::~NativeDevice() {
  if (env_) napi_remove_env_cleanup_hook(env_, &NativeDevice::atExit, this);
  stop();
}

void NativeDevice::atExit(void* self) { static_cast<NativeDevice*>(self)->stop(); }

void NativeDevice::stop() {
  if (!backend_) return;
  backend_.reset();
  settler_.Abort();
}

Napi::Value NativeDevice::name(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), backend_->name()); }

Napi::Value NativeDevice::allocate(const Napi::CallbackInfo& info) {
  void* p = nullptr;
  const Status status = backend_->allocate(size(info[0]), p);
  if (status.code != Code::outOfMemory) raise(info.Env(), status);
  return number(info.Env(), status.ok() ? uintptr_t(p) : 0);
}

void NativeDevice::free(const Napi::CallbackInfo& info) { backend_->free(address(info[0])); }

void NativeDevice::launch(const Napi::CallbackInfo& info) { raise(info.Env(), backend_->launch(int(size(info[0])), params_)); }

void NativeDevice::upload(const Napi::CallbackInfo& info) {
  const auto data = info[1].As<Napi::Uint8Array>();
  raise(info.Env(), backend_->upload(address(info[0]), data.Data(), data.ByteLength()));
}

void NativeDevice::uploadMapped(const Napi::CallbackInfo& info) {
  raise(info.Env(), backend_->upload(address(info[0]), address(info[1]), size(info[2])));
}

Napi::Value NativeDevice::wait(Napi::Env env, size_t bytes, const void* from) {
  auto* pending = new Pending{this, Napi::Promise::Deferred::New(env), bytes, bytes ? std::malloc(bytes) : nullptr, -1, {}};
  const Napi::Promise promise = pending->deferred.Promise();
  if (pending_++ == 0) settler_.Ref(env);
  if (bytes && !pending->copy) {
    pending->status = Status::error(Code::outOfMemory, "no host memory to read a tensor into");
    settle(env, pending);
    return promise;
  }
  pending->number = downloads_++;
  backend_->download(pending->copy, from, bytes, [this, pending](Status status) {
    pending->status = std::move(status);
    if (settler_.NonBlockingCall(pending, [](Napi::Env env, Napi::Function, Pending* p) { p->device->settle(env, p); }) != napi_ok) {
      std::free(pending->copy);  // the environment is going away: nobody waits
      pending->copy = nullptr;
    }
  });
  return promise;
}

void NativeDevice::settle(Napi::Env env, Pending* pending) {
  if (--pending_ == 0) settler_.Unref(env);
  if (!pending->status.ok()) {
    if (backend_ && pending->number >= 0) backend_->told(pending->number);
    std::free(pending->copy);
    pending->deferred.Reject(toError(env, pending->status));
  } else if (!pending->bytes) pending->deferred.Resolve(env.Undefined());
  else pending->deferred.Resolve(Napi::ArrayBuffer::New(env, pending->copy, pending->bytes, [](Napi::Env, void* p) { std::free(p); }));
  delete pending;
}

Napi::Value NativeDevice::download(const Napi::CallbackInfo& info) { return wait(info.Env(), size(info[1]), address(info[0])); }

Napi::Value NativeDevice::synchronize(const Napi::CallbackInfo& info) { return wait(info.Env(), 0, nullptr); }

Napi::Value NativeDevice::memory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Backend::Memory m = backend_ ? backend_->memory() : Backend::Memory{};
  Napi::Object o = Napi::Object::New(env);
  o.Set("live", number(env, m.live));
  o.Set("peak", number(env, m.peak));
  o.Set("reserved", number(env, m.reserved));
  o.Set("workspace", number(env, m.workspace));
  o.Set("budget", number(env, m.budget));
  o.Set("launched", number(env, backend_ ? size_t(backend_->launched()) : 0));
  return o;
}

void NativeDevice::resetPeak(const Napi::CallbackInfo&) { backend_->resetPeak(); }
void NativeDevice::profile(const Napi::CallbackInfo& info) { backend_->profile(info[0].As<Napi::Boolean>().Value()); }

Napi::Value NativeDevice::timings(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object all = Napi::Object::New(env);
  for (const auto& [name, timing] : backend_->timings()) {
    Napi::Object one = Napi::Object::New(env);
    one.Set("calls", double(timing.calls));
    one.Set("seconds", timing.seconds);
    all.Set(name, one);
  }
  return all;
}

void NativeDevice::releaseUnused(const Napi::CallbackInfo&) { backend_->releaseUnused(); }

Napi::Value NativeDevice::mapFile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  MappedFile file;
  const Status status = lantern::mapFile(info[0].As<Napi::String>().Utf8Value(), file);
  if (!status.ok()) {
    raise(env, status);
    return env.Undefined();
  }
  Napi::Object o = Napi::Object::New(env);
  o.Set("address", number(env, uintptr_t(file.data)));
  o.Set("bytes", number(env, file.bytes));
  return o;
}

void NativeDevice::unmapFile(const Napi::CallbackInfo& info) {
  backend_->unmapFile({address(info[0]), size(info[1])});
}

void NativeDevice::close(const Napi::CallbackInfo&) { stop(); }

}  // namespace lantern
