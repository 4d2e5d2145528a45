#include "device.h"

#include <cstdlib>
#include <cstring>

#include "../runtime/cpu/dispatch.h"
#include "../runtime/mappedFile.h"

namespace lantern {

namespace {

const char* codeName(Code code) {
  switch (code) {
    case Code::ok: return "OK";
    case Code::invalidArgument: return "ERR_INVALID_ARGUMENT";
    case Code::outOfRange: return "ERR_OUT_OF_RANGE";
    case Code::outOfMemory: return "ERR_OUT_OF_MEMORY";
    case Code::io: return "ERR_IO";
  }
  return "ERR_DEVICE";
}

void* address(const Napi::Value& v) { return reinterpret_cast<void*>(uintptr_t(v.As<Napi::Number>().DoubleValue())); }
size_t size(const Napi::Value& v) { return size_t(v.As<Napi::Number>().DoubleValue()); }
Napi::Number number(Napi::Env env, size_t n) { return Napi::Number::New(env, double(n)); }

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
  Status status;
};

Napi::Function NativeDevice::define(Napi::Env env) {
  return DefineClass(env, "NativeDevice",
                     {InstanceMethod<&NativeDevice::allocate>("allocate"), InstanceMethod<&NativeDevice::free>("free"),
                      InstanceMethod<&NativeDevice::launch>("launch"), InstanceMethod<&NativeDevice::upload>("upload"),
                      InstanceMethod<&NativeDevice::download>("download"), InstanceMethod<&NativeDevice::synchronize>("synchronize"),
                      InstanceMethod<&NativeDevice::memory>("memory"), InstanceMethod<&NativeDevice::resetPeak>("resetPeak"),
                      InstanceMethod<&NativeDevice::profile>("profile"), InstanceMethod<&NativeDevice::timings>("timings"),
                      InstanceMethod<&NativeDevice::releaseUnused>("releaseUnused"), InstanceMethod<&NativeDevice::mapFile>("mapFile"),
                      InstanceMethod<&NativeDevice::unmapFile>("unmapFile"), InstanceMethod<&NativeDevice::close>("close")});
}

// (threads, budget in bytes or 0, parameter buffer shared with TypeScript)
NativeDevice::NativeDevice(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<NativeDevice>(info), allocator_(pages_, size(info[1])) {
  stream_ = std::make_unique<Stream>(int(size(info[0])));
  const auto params = info[2].As<Napi::Uint8Array>();
  paramsReference_ = Napi::Persistent(params);
  params_ = params.Data();
  settler_ = Napi::ThreadSafeFunction::New(info.Env(), Napi::Function(), "lantern", 0, 1);
  settler_.Unref(info.Env());
  env_ = info.Env();
  napi_add_env_cleanup_hook(env_, &NativeDevice::atExit, this);
}

NativeDevice::~NativeDevice() {
  napi_remove_env_cleanup_hook(env_, &NativeDevice::atExit, this);
  stop();
}

void NativeDevice::atExit(void* self) { static_cast<NativeDevice*>(self)->stop(); }

void NativeDevice::stop() {
  if (!stream_) return;
  stream_.reset();
  settler_.Abort();
}

Napi::Value NativeDevice::allocate(const Napi::CallbackInfo& info) {
  return number(info.Env(), uintptr_t(allocator_.allocate(size(info[0]))));
}

void NativeDevice::free(const Napi::CallbackInfo& info) { allocator_.free(address(info[0])); }

void NativeDevice::launch(const Napi::CallbackInfo& info) {
  stream_->launch(dispatch().chosen->kernels[size(info[0])], params_);
}

void NativeDevice::upload(const Napi::CallbackInfo& info) {
  const auto data = info[1].As<Napi::Uint8Array>();
  const size_t bytes = data.ByteLength();
  void *to = address(info[0]), *copy = std::malloc(bytes);  // the caller may change its array before the stream gets here
  if (!copy) return Napi::Error::New(info.Env(), "no host memory for an upload").ThrowAsJavaScriptException();
  memcpy(copy, data.Data(), bytes);
  stream_->host([=] {
    memcpy(to, copy, bytes);
    std::free(copy);
  });
}

Napi::Value NativeDevice::wait(Napi::Env env, size_t bytes, const void* from) {
  auto* pending = new Pending{this, Napi::Promise::Deferred::New(env), bytes, nullptr, {}};
  if (pending_++ == 0) settler_.Ref(env);
  stream_->fence([this, pending, from](Status status) {
    pending->status = std::move(status);
    if (pending->status.ok() && pending->bytes) {
      pending->copy = std::malloc(pending->bytes);
      if (pending->copy) memcpy(pending->copy, from, pending->bytes);
      else pending->status = Status::error(Code::outOfMemory, "no host memory to read a tensor into");
    }
    if (settler_.NonBlockingCall(pending, [](Napi::Env env, Napi::Function, Pending* p) { p->device->settle(env, p); }) != napi_ok) {
      std::free(pending->copy);  // the environment is going away: nobody waits
      pending->copy = nullptr;
    }
  });
  return pending->deferred.Promise();
}

void NativeDevice::settle(Napi::Env env, Pending* pending) {
  if (--pending_ == 0) settler_.Unref(env);
  if (!pending->status.ok()) pending->deferred.Reject(toError(env, pending->status));
  else if (!pending->bytes) pending->deferred.Resolve(env.Undefined());
  else pending->deferred.Resolve(Napi::ArrayBuffer::New(env, pending->copy, pending->bytes, [](Napi::Env, void* p) { std::free(p); }));
  delete pending;
}

Napi::Value NativeDevice::download(const Napi::CallbackInfo& info) { return wait(info.Env(), size(info[1]), address(info[0])); }

Napi::Value NativeDevice::synchronize(const Napi::CallbackInfo& info) { return wait(info.Env(), 0, nullptr); }

Napi::Value NativeDevice::memory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Allocator::Stats s = allocator_.stats();
  Napi::Object o = Napi::Object::New(env);
  o.Set("live", number(env, s.live));
  o.Set("peak", number(env, s.peak));
  o.Set("reserved", number(env, s.reserved));
  o.Set("workspace", number(env, stream_ ? stream_->workspaceBytes() : 0));
  o.Set("budget", number(env, s.budget));
  o.Set("launched", number(env, stream_ ? size_t(stream_->launched()) : 0));
  return o;
}

void NativeDevice::resetPeak(const Napi::CallbackInfo&) { allocator_.resetPeak(); }
void NativeDevice::profile(const Napi::CallbackInfo& info) { stream_->profile(info[0].As<Napi::Boolean>().Value()); }

Napi::Value NativeDevice::timings(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object all = Napi::Object::New(env);
  for (const auto& [name, timing] : stream_->timings()) {
    Napi::Object one = Napi::Object::New(env);
    one.Set("calls", double(timing.calls));
    one.Set("seconds", timing.seconds);
    all.Set(name, one);
  }
  return all;
}

void NativeDevice::releaseUnused(const Napi::CallbackInfo&) { allocator_.releaseUnused(); }

Napi::Value NativeDevice::mapFile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  MappedFile file;
  const Status status = lantern::mapFile(info[0].As<Napi::String>().Utf8Value(), file);
  if (!status.ok()) {
    Napi::Error(env, toError(env, status)).ThrowAsJavaScriptException();
    return env.Undefined();
  }
  Napi::Object o = Napi::Object::New(env);
  o.Set("address", number(env, uintptr_t(file.data)));
  o.Set("bytes", number(env, file.bytes));
  return o;
}

void NativeDevice::unmapFile(const Napi::CallbackInfo& info) {
  const MappedFile file{address(info[0]), size(info[1])};
  stream_->host([file] { lantern::unmapFile(file); });
}

void NativeDevice::close(const Napi::CallbackInfo&) { stop(); }

}  // namespace lantern
