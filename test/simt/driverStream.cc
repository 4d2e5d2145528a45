// Streams, events and host functions.
#include "driver.h"

namespace lantern::simt::driver {

namespace {

std::shared_ptr<Event> eventOf(Context& c, CUevent handle) {
  Handles<Event>& events = Driver::get().events;
  std::shared_ptr<Event> found = events.get(handle);
  if (!found) {
    c.finding("handle", events.everGiven(handle) ? "an event is used after it was destroyed" : "an event that was never created is used");
    refuse(CUDA_ERROR_INVALID_HANDLE, "not an event");
  }
  if (found->context != &c) refuse(CUDA_ERROR_INVALID_HANDLE, "an event of another context");
  return found;
}

std::shared_ptr<Mark> markOf(Event& event) {
  std::lock_guard lock(event.mutex);
  return event.mark;
}

void create(Context& c, CUstream* handle, unsigned flags, int priority) {
  require(handle, "no place for the stream");
  require(flags == CU_STREAM_DEFAULT || flags == CU_STREAM_NON_BLOCKING, "unknown stream flags");
  const auto stream = std::make_shared<Stream>(&c, c.queue.open(), flags, priority);
  c.addStream(stream);
  *handle = static_cast<CUstream>(Driver::get().streams.add(stream));
}

// What a poll finds. What was pending is reported as such even if this very poll ran the last of it.
void poll(Context& c, const Point& point) {
  if (c.queue.reached(point)) return;
  c.queue.advance({point});
  refuse(CUDA_ERROR_NOT_READY, "");
}

void record(Context& c, CUevent eventHandle, CUstream streamHandle) {
  const auto event = eventOf(c, eventHandle);
  const auto stream = c.stream(streamHandle);
  const auto mark = std::make_shared<Mark>();
  mark->point = c.push(*stream, [mark] { mark->time = std::chrono::steady_clock::now(); });
  std::lock_guard lock(event->mutex);
  event->mark = mark;
}

void elapsed(Context& c, float* milliseconds, CUevent from, CUevent to) {
  require(milliseconds, "no place for the time");
  std::shared_ptr<Mark> marks[2];
  for (int i = 0; i < 2; ++i) {
    const auto event = eventOf(c, i ? to : from);
    if (event->flags & CU_EVENT_DISABLE_TIMING) refuse(CUDA_ERROR_INVALID_HANDLE, "an event without timing");
    marks[i] = markOf(*event);
    if (!marks[i]) refuse(CUDA_ERROR_INVALID_HANDLE, "an event that was never recorded");
  }
  for (const auto& mark : marks)
    if (!c.queue.reached(mark->point)) refuse(CUDA_ERROR_NOT_READY, "");
  *milliseconds = std::chrono::duration<float, std::milli>(marks[1]->time - marks[0]->time).count();
}

}  // namespace

}  // namespace lantern::simt::driver

using namespace lantern::simt::driver;

// ---- streams ----

CUresult CUDAAPI cuStreamCreate(CUstream* stream, unsigned int flags) {
  return creating("cuStreamCreate", [&](Context& c) { create(c, stream, flags, 0); });
}

CUresult CUDAAPI cuStreamCreateWithPriority(CUstream* stream, unsigned int flags, int priority) {
  return creating("cuStreamCreateWithPriority", [&](Context& c) { create(c, stream, flags, std::clamp(priority, -5, 0)); });
}

// The work in it still runs: the queue keeps the lane.
CUresult CUDAAPI cuStreamDestroy(CUstream stream) {
  return inContext("cuStreamDestroy", [&](Context& c) {
    if (c.stream(stream) == c.legacy) refuse(CUDA_ERROR_INVALID_HANDLE, "the default stream is never destroyed");
    Driver::get().streams.remove(stream);
  }, true);
}

CUresult CUDAAPI cuStreamQuery(CUstream stream) {
  return inContext("cuStreamQuery", [&](Context& c) { poll(c, c.queue.end(c.stream(stream)->lane)); });
}

CUresult CUDAAPI cuStreamSynchronize(CUstream stream) {
  return inContext("cuStreamSynchronize", [&](Context& c) { c.wait({c.queue.end(c.stream(stream)->lane)}); });
}

CUresult CUDAAPI cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int flags) {
  return inContext("cuStreamWaitEvent", [&](Context& c) {
    require(flags == CU_EVENT_WAIT_DEFAULT, "unknown flags");
    const auto s = c.stream(stream);
    const auto mark = markOf(*eventOf(c, event));
    if (mark) c.push(*s, [] {}, false, {mark->point});
  });
}

CUresult CUDAAPI cuStreamGetPriority(CUstream stream, int* priority) {
  return inContext("cuStreamGetPriority", [&](Context& c) {
    require(priority, "no place for the priority");
    *priority = c.stream(stream)->priority;
  });
}

CUresult CUDAAPI cuStreamGetFlags(CUstream stream, unsigned int* flags) {
  return inContext("cuStreamGetFlags", [&](Context& c) {
    require(flags, "no place for the flags");
    *flags = c.stream(stream)->flags;
  });
}

CUresult CUDAAPI cuLaunchHostFunc(CUstream stream, CUhostFn function, void* argument) {
  return inContext("cuLaunchHostFunc", [&](Context& c) {
    require(function, "no function");
    c.push(*c.stream(stream), [=] {
      inHostFunction = true;
      function(argument);
      inHostFunction = false;
    }, true);
  });
}

// ---- events ----

CUresult CUDAAPI cuEventCreate(CUevent* event, unsigned int flags) {
  return creating("cuEventCreate", [&](Context& c) {
    require(event, "no place for the event");
    require(!(flags & ~unsigned(CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING)), "unknown event flags, or those of events between processes");
    const auto e = std::make_shared<Event>();
    e->context = &c;
    e->flags = flags;
    *event = static_cast<CUevent>(Driver::get().events.add(e));
  });
}

CUresult CUDAAPI cuEventDestroy(CUevent event) {
  return inContext("cuEventDestroy", [&](Context& c) {
    eventOf(c, event);
    Driver::get().events.remove(event);
  }, true);
}

CUresult CUDAAPI cuEventRecord(CUevent event, CUstream stream) {
  return inContext("cuEventRecord", [&](Context& c) { record(c, event, stream); });
}

CUresult CUDAAPI cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned int flags) {
  return inContext("cuEventRecordWithFlags", [&](Context& c) {
    require(flags == CU_EVENT_RECORD_DEFAULT, "external event records are for graphs");
    record(c, event, stream);
  });
}

CUresult CUDAAPI cuEventQuery(CUevent event) {
  return inContext("cuEventQuery", [&](Context& c) {
    if (const auto mark = markOf(*eventOf(c, event))) poll(c, mark->point);
  });
}

CUresult CUDAAPI cuEventSynchronize(CUevent event) {
  return inContext("cuEventSynchronize", [&](Context& c) {
    if (const auto mark = markOf(*eventOf(c, event))) c.wait({mark->point});
  });
}

// Of this machine's clock. Says nothing about a GPU.
CUresult CUDAAPI cuEventElapsedTime(float* milliseconds, CUevent from, CUevent to) {
  return inContext("cuEventElapsedTime", [&](Context& c) { elapsed(c, milliseconds, from, to); });
}
#undef cuEventElapsedTime  // the name before 12.8
extern "C" __attribute__((visibility("default"))) CUresult CUDAAPI cuEventElapsedTime(float* milliseconds, CUevent from, CUevent to) {
  return inContext("cuEventElapsedTime", [&](Context& c) { elapsed(c, milliseconds, from, to); });
}
