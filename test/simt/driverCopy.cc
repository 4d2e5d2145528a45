// Copies and fills. What is synchronous is what the driver's documentation promises ("API synchronization behavior"), and no more:
//
//   synchronous, pageable host to device   waits for the default stream, takes the data, and returns before the device has it
//   synchronous, page-locked to device     returns when it is done
//   synchronous, device to host            returns when it is done
//   synchronous, device to device; fills   are enqueued in the default stream
//   asynchronous, page-locked              are enqueued; host memory is read or written when they run
//   asynchronous, pageable host to device  takes the data at the call, is enqueued
//   asynchronous, device to pageable host  returns when it is done
#include "driver.h"

namespace lantern::simt::driver {

namespace {

void toDevice(Context& c, CUdeviceptr to, const void* from, size_t bytes, const Stream& stream, bool synchronous) {
  if (bytes == 0) return;
  c.requireDevice(to, bytes, "a copy to the device");
  if (c.hostKind(from, bytes) == Context::HostKind::pageable) {
    if (synchronous) c.wait({c.push(stream, [] {})});
    const auto staged = std::make_shared<std::vector<std::byte>>(static_cast<const std::byte*>(from), static_cast<const std::byte*>(from) + bytes);
    c.push(stream, [&c, to, staged] { c.device.memory.copyIn(to, staged->data(), staged->size()); });
    return;
  }
  const Point done = c.push(stream, [&c, to, from, bytes, use = c.useHost(from, bytes)] { c.device.memory.copyIn(to, from, bytes); });
  if (synchronous) c.wait({done});
}

void toHost(Context& c, void* to, CUdeviceptr from, size_t bytes, const Stream& stream, bool synchronous) {
  if (bytes == 0) return;
  c.requireDevice(from, bytes, "a copy from the device");
  synchronous |= c.hostKind(to, bytes) == Context::HostKind::pageable;
  const Point done = c.push(stream, [&c, to, from, bytes, use = c.useHost(to, bytes)] {
    const uint64_t never = c.device.memory.copyOut(to, from, bytes);
    if (never && c.environment.options.checkInitialised)
      c.finding("uninitialised", std::to_string(never) + " of " + std::to_string(bytes) + " bytes copied to the host were never written, " +
                                     c.device.memory.state().describe(from));
  });
  if (synchronous) c.wait({done});
}

void onDevice(Context& c, CUdeviceptr to, CUdeviceptr from, size_t bytes, const Stream& stream) {
  if (bytes == 0) return;
  c.requireDevice(to, bytes, "a copy on the device");
  c.requireDevice(from, bytes, "a copy on the device");
  require(to + bytes <= from || from + bytes <= to, "source and destination overlap");
  c.push(stream, [&c, to, from, bytes] { c.device.memory.copy(to, from, bytes); });
}

void fill(Context& c, CUdeviceptr to, uint32_t value, uint32_t width, size_t count, const Stream& stream) {
  if (count == 0) return;
  require(to % width == 0, "a fill must be aligned to its unit");
  require(count <= ~size_t(0) / width, "too long");
  c.requireDevice(to, count * width, "a fill");
  c.push(stream, [&c, to, value, width, count] { c.device.memory.set(to, value, width, count); });
}

}  // namespace

}  // namespace lantern::simt::driver

using namespace lantern::simt::driver;

CUresult CUDAAPI cuMemcpyHtoD(CUdeviceptr to, const void* from, size_t bytes) {
  return inContext("cuMemcpyHtoD", [&](Context& c) { toDevice(c, to, from, bytes, *c.legacy, true); });
}
CUresult CUDAAPI cuMemcpyDtoH(void* to, CUdeviceptr from, size_t bytes) {
  return inContext("cuMemcpyDtoH", [&](Context& c) { toHost(c, to, from, bytes, *c.legacy, true); });
}
CUresult CUDAAPI cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return inContext("cuMemcpyDtoD", [&](Context& c) { onDevice(c, to, from, bytes, *c.legacy); });
}
CUresult CUDAAPI cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
  return inContext("cuMemcpyHtoDAsync", [&](Context& c) { toDevice(c, to, from, bytes, *c.stream(stream), false); });
}
CUresult CUDAAPI cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return inContext("cuMemcpyDtoHAsync", [&](Context& c) { toHost(c, to, from, bytes, *c.stream(stream), false); });
}
CUresult CUDAAPI cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  return inContext("cuMemcpyDtoDAsync", [&](Context& c) { onDevice(c, to, from, bytes, *c.stream(stream)); });
}

CUresult CUDAAPI cuMemsetD8(CUdeviceptr to, unsigned char value, size_t count) {
  return inContext("cuMemsetD8", [&](Context& c) { fill(c, to, value, 1, count, *c.legacy); });
}
CUresult CUDAAPI cuMemsetD16(CUdeviceptr to, unsigned short value, size_t count) {
  return inContext("cuMemsetD16", [&](Context& c) { fill(c, to, value, 2, count, *c.legacy); });
}
CUresult CUDAAPI cuMemsetD32(CUdeviceptr to, unsigned int value, size_t count) {
  return inContext("cuMemsetD32", [&](Context& c) { fill(c, to, value, 4, count, *c.legacy); });
}
CUresult CUDAAPI cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream) {
  return inContext("cuMemsetD8Async", [&](Context& c) { fill(c, to, value, 1, count, *c.stream(stream)); });
}
CUresult CUDAAPI cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, CUstream stream) {
  return inContext("cuMemsetD16Async", [&](Context& c) { fill(c, to, value, 2, count, *c.stream(stream)); });
}
CUresult CUDAAPI cuMemsetD32Async(CUdeviceptr to, unsigned int value, size_t count, CUstream stream) {
  return inContext("cuMemsetD32Async", [&](Context& c) { fill(c, to, value, 4, count, *c.stream(stream)); });
}
