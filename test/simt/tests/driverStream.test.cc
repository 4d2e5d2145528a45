// Streams and events: enqueued work runs as late as legal, so that a wait that is missing shows; in every order the result is the same if none is.
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "driverSupport.h"

using namespace lantern::simt::test;

namespace {

constexpr int kN = 256;
std::vector<float> zeros() { return std::vector<float>(kN); }

struct Event {
  Event() { cuEventCreate(&handle, CU_EVENT_DISABLE_TIMING); }
  ~Event() { cuEventDestroy(handle); }
  operator CUevent() const { return handle; }
  CUevent handle = nullptr;
};

struct Stream {
  explicit Stream(unsigned flags = CU_STREAM_NON_BLOCKING) { cuStreamCreate(&handle, flags); }
  ~Stream() { cuStreamDestroy(handle); }
  operator CUstream() const { return handle; }
  CUstream handle = nullptr;
};

}  // namespace

TEST("driver streams: a page-locked buffer is read when the copy runs, so writing it again too early shows") {
  Session s;
  const CUdeviceptr x = s.buffer(zeros());
  Pinned<float> staging(kN);
  for (int i = 0; i < kN; ++i) staging[size_t(i)] = 1;
  OK(cuMemcpyHtoDAsync(x, staging.data, staging.bytes(), s.stream));
  for (int i = 0; i < kN; ++i) staging[size_t(i)] = 2;
  OK(cuStreamSynchronize(s.stream));
  CHECK(s.read<float>(x, kN)[0] == 2);
}

TEST("driver streams: a page-locked destination has its old contents until somebody waits") {
  Session s;
  const CUdeviceptr x = s.buffer(std::vector<float>(kN, 5));
  Pinned<float> arrival(kN);
  for (int i = 0; i < kN; ++i) arrival[size_t(i)] = -1;
  OK(cuMemcpyDtoHAsync(arrival.data, x, arrival.bytes(), s.stream));
  CHECK(arrival[0] == -1);
  OK(cuStreamSynchronize(s.stream));
  CHECK(arrival[0] == 5);
}

TEST("driver streams: pageable memory is taken at the call on its way in, and there at the return on its way out") {
  Session s;
  const CUdeviceptr x = s.buffer(zeros());
  std::vector<float> host(kN, 1);
  OK(cuMemcpyHtoDAsync(x, host.data(), kN * 4, s.stream));
  std::fill(host.begin(), host.end(), 9.f);
  OK(s.launch("addOne", 1, kN, 0, x, kN));
  OK(cuMemcpyDtoHAsync(host.data(), x, kN * 4, s.stream));
  CHECK(host[0] == 2 && host[kN - 1] == 2);
}

TEST("driver streams: a synchronous copy to the device does not order a stream that does not block") {
  Session s;
  const CUdeviceptr x = s.buffer(zeros()), y = s.buffer(zeros());
  const std::vector<float> ones(kN, 1);
  OK(cuMemcpyHtoD(x, ones.data(), kN * 4));  // returns when the data is taken; the device need not have it
  OK(s.launch("copyTo", 1, kN, 0, y, x, kN));
  OK(cuStreamSynchronize(s.stream));
  CHECK(s.read<float>(y, kN)[0] == 0);
  OK(cuCtxSynchronize());
  OK(s.launch("copyTo", 1, kN, 0, y, x, kN));
  OK(cuStreamSynchronize(s.stream));
  CHECK(s.read<float>(y, kN)[0] == 1);
}

TEST("driver streams: blocking ones are ordered against the default stream") {
  Session s;
  const Stream blocking(CU_STREAM_DEFAULT);
  const CUdeviceptr x = s.buffer(zeros()), y = s.buffer(zeros());
  Pinned<float> out(kN);
  for (int round = 0; round < 3; ++round) {
    OK(cuMemsetD32Async(x, 0x3f800000u + unsigned(round), kN, blocking));
    OK(cuMemcpyDtoDAsync(y, x, kN * 4, nullptr));
    OK(cuMemcpyDtoHAsync(out.data, y, kN * 4, blocking));
    OK(cuStreamSynchronize(blocking));
    unsigned bits = 0;
    std::memcpy(&bits, out.data, 4);
    CHECK(bits == 0x3f800000u + unsigned(round));
  }
}

TEST("driver events: one stream waits for another only through an event") {
  for (const bool waits : {false, true}) {
    Session s;
    const Stream other;
    const Event copied;
    const CUdeviceptr x = s.buffer(zeros()), y = s.buffer(zeros());
    OK(cuMemsetD32Async(x, 0x40000000, kN, s.stream));
    OK(cuEventRecord(copied, s.stream));
    if (waits) OK(cuStreamWaitEvent(other, copied, 0));
    OK(cuMemcpyDtoDAsync(y, x, kN * 4, other));
    OK(cuStreamSynchronize(other));
    CHECK(s.read<float>(y, kN)[0] == (waits ? 2.f : 0.f));
    OK(cuStreamSynchronize(s.stream));
  }
}

TEST("driver events: recorded anew, an event means the new point; a wait keeps the one it was given") {
  Session s;
  const Stream other;
  const Event event;
  const CUdeviceptr x = s.buffer(zeros());
  Pinned<float> out(kN);
  OK(cuEventQuery(event));  // never recorded: nothing to wait for
  OK(cuEventRecord(event, s.stream));
  OK(cuStreamWaitEvent(other, event, 0));
  OK(s.launch("addOne", 1, kN, 0, x, kN));
  OK(cuEventRecord(event, s.stream));
  OK(cuMemcpyDtoHAsync(out.data, x, kN * 4, other));
  OK(cuStreamSynchronize(other));
  CHECK(out[0] == 0);
  OK(cuEventSynchronize(event));
  CHECK(s.read<float>(x, kN)[0] == 1);
}

TEST("driver events: polls say not ready first and ready in the end") {
  Session s;
  const Event event;
  const CUdeviceptr x = s.buffer(zeros());
  for (int i = 0; i < 40; ++i) OK(s.launch("addOne", 1, kN, 0, x, kN));
  OK(cuEventRecord(event, s.stream));
  CHECK_CU(CUDA_ERROR_NOT_READY, cuEventQuery(event));
  int polls = 1;
  while (cuEventQuery(event) == CUDA_ERROR_NOT_READY && polls < 100) ++polls;
  CHECK(polls > 3 && polls < 20);
  OK(cuStreamQuery(s.stream));
  CHECK(s.read<float>(x, kN)[3] == 40);
}

TEST("driver events: time is between two that were recorded, done, and made for it") {
  Session s;
  CUevent from = nullptr, to = nullptr;
  const Event untimed;
  OK(cuEventCreate(&from, CU_EVENT_DEFAULT));
  OK(cuEventCreate(&to, CU_EVENT_DEFAULT));
  float ms = -1;
  CHECK_CU(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime(&ms, from, to));
  OK(cuEventRecord(from, s.stream));
  OK(cuEventRecord(to, s.stream));
  OK(cuEventRecord(untimed, s.stream));
  CHECK_CU(CUDA_ERROR_NOT_READY, cuEventElapsedTime(&ms, from, to));
  OK(cuStreamSynchronize(s.stream));
  OK(cuEventElapsedTime(&ms, from, to));
  CHECK(ms >= 0);
  CHECK_CU(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime(&ms, from, untimed));
  OK(cuEventDestroy(from));
  OK(cuEventDestroy(to));
}

TEST("driver streams: with all waits in place the result is the same in every order and with every seed") {
  for (const char* streams : {"late", "random", "eager"})
    for (const char* seed : {"1", "2", "3"}) {
      Session s({{"STREAMS", streams}, {"SEED", seed}});
      const Stream upload;
      const Event uploaded, used;
      const CUdeviceptr x = s.buffer(zeros()), sum = s.buffer(zeros());
      Pinned<float> staging(kN), out(kN);
      for (int step = 0; step < 6; ++step) {
        OK(cuEventSynchronize(uploaded));  // the staging buffer was read
        for (int i = 0; i < kN; ++i) staging[size_t(i)] = float(step * i);
        OK(cuStreamWaitEvent(upload, used, 0));
        OK(cuMemcpyHtoDAsync(x, staging.data, staging.bytes(), upload));
        OK(cuEventRecord(uploaded, upload));
        OK(cuStreamWaitEvent(s.stream, uploaded, 0));
        OK(s.launch("addOne", 1, kN, 0, x, kN));
        OK(s.launch("copyTo", 1, kN, 0, sum, x, kN));
        OK(cuEventRecord(used, s.stream));
      }
      OK(cuMemcpyDtoHAsync(out.data, sum, out.bytes(), s.stream));
      OK(cuStreamSynchronize(s.stream));
      CHECK(out[3] == 16 && out[kN - 1] == 5 * (kN - 1) + 1);
      CHECK(simtFindings() == 0);
    }
}

TEST("driver host functions: they run in order, without a wait, and must not call the driver") {
  Session s;
  struct State {
    std::atomic<bool> done{false};
    CUresult inside = CUDA_SUCCESS;
    float seen = 0;
    float* out;
  } state;
  const CUdeviceptr x = s.buffer(std::vector<float>(kN, 3));
  Pinned<float> out(kN);
  state.out = out.data;
  OK(cuMemcpyDtoHAsync(out.data, x, out.bytes(), s.stream));
  OK(cuLaunchHostFunc(s.stream, [](void* p) {
    State& state = *static_cast<State*>(p);
    state.seen = state.out[0];
    size_t free = 0, total = 0;
    state.inside = cuMemGetInfo(&free, &total);
    state.done = true;
  }, &state));
  for (int i = 0; i < 2000 && !state.done; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(state.done && state.seen == 3 && state.inside == CUDA_ERROR_NOT_PERMITTED);
}

TEST("driver handles: destroyed ones are found, and those of another context refused") {
  for (const int kind : {0, 1}) {
    Session s;
    CUstream stream = nullptr;
    CUevent event = nullptr;
    OK(cuStreamCreate(&stream, 0));
    OK(cuEventCreate(&event, 0));
    OK(cuStreamDestroy(stream));
    OK(cuEventDestroy(event));
    CHECK_CU(CUDA_ERROR_INVALID_HANDLE, kind ? cuEventSynchronize(event) : cuStreamSynchronize(stream));
    CHECK(simtFindings() == 1 && reports("after it was destroyed"));
  }
  Session s({{"DEVICES", "2"}});
  CUcontext second = nullptr;
  OK(cuDevicePrimaryCtxRetain(&second, 1));
  OK(cuCtxSetCurrent(second));
  CHECK_CU(CUDA_ERROR_INVALID_HANDLE, cuStreamSynchronize(s.stream));
  CUdeviceptr a = 0;
  OK(cuMemAlloc(&a, 64));
  OK(cuCtxSetCurrent(s.context));
  CHECK_CU(CUDA_ERROR_INVALID_VALUE, cuMemsetD8(a, 0, 64));  // memory of the other device
  OK(cuCtxSetCurrent(second));
  OK(cuMemFree(a));
  OK(cuDevicePrimaryCtxRelease(1));
  OK(cuCtxSetCurrent(s.context));
}

TEST("driver streams: a stream that is destroyed finishes its work") {
  Session s;
  const CUdeviceptr x = s.buffer(zeros());
  CUstream stream = nullptr;
  OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  OK(cuMemsetD32Async(x, 0x3f800000, kN, stream));
  OK(cuStreamDestroy(stream));
  OK(cuCtxSynchronize());
  CHECK(s.read<float>(x, kN)[0] == 1);
}

TEST("driver streams: two threads work in streams of their own") {
  Session s({{"STREAMS", "random"}, {"SEED", "7"}});
  s.kernel("addOne");
  std::atomic<int> wrong{0};
  const auto work = [&](CUdeviceptr x, CUstream stream) {
    cuCtxSetCurrent(s.context);
    int n = kN;
    void* args[] = {&x, &n};
    CUfunction f = nullptr;
    wrong += cuModuleGetFunction(&f, s.module, "addOne") != CUDA_SUCCESS;
    for (int i = 0; i < 30; ++i) {
      wrong += cuLaunchKernel(f, 1, 1, 1, kN, 1, 1, 0, stream, args, nullptr) != CUDA_SUCCESS;
      CUdeviceptr scratch = 0;
      wrong += cuMemAllocAsync(&scratch, 512, stream) != CUDA_SUCCESS;
      wrong += cuMemFreeAsync(scratch, stream) != CUDA_SUCCESS;
      if (i % 7 == 0) wrong += cuStreamSynchronize(stream) != CUDA_SUCCESS;
    }
    wrong += cuStreamSynchronize(stream) != CUDA_SUCCESS;
  };
  const Stream other;
  const CUdeviceptr a = s.buffer(zeros()), b = s.buffer(zeros());
  std::thread thread(work, b, other.handle);
  work(a, s.stream);
  thread.join();
  CHECK(wrong == 0);
  CHECK(s.read<float>(a, kN)[5] == 30 && s.read<float>(b, kN)[5] == 30);
}
