// The stream: commands in order, an error at the fences until it is told and nowhere else, everything enqueued runs before the stream ends.
#include "../../native/runtime/stream.h"

#include <atomic>
#include <chrono>
#include <future>

#include "harness.h"

using namespace lantern;

namespace {

struct AppendParams {
  std::vector<int64_t>* to;
  int64_t value, fail;
};

// A kernel of the test's own: appends its value, or fails.
Status append(const void* params, Context& context) {
  const auto& p = *static_cast<const AppendParams*>(params);
  if (p.fail) return Status::error(Code::outOfRange, "append: refused " + std::to_string(p.value));
  context.pool.parallel(1, [&](int64_t, int) { p.to->push_back(p.value); });
  return Status::fine();
}
const Kernel kAppend{"append", append, nullptr, 0, int(sizeof(AppendParams))};

void enqueue(Stream& stream, std::vector<int64_t>& to, int64_t value, bool fail = false) {
  const AppendParams p{&to, value, fail};
  stream.launch(kAppend, &p);
}

Status wait(Stream& stream) {
  std::promise<Status> done;
  stream.fence([&](Status s) { done.set_value(std::move(s)); });
  return done.get_future().get();
}

}  // namespace

TEST("stream: kernels and host work run in the order of the calls") {
  for (int threads = 1; threads <= 3; ++threads) {
    Stream stream(threads);
    CHECK(stream.threads() == threads);
    std::vector<int64_t> seen;
    for (int64_t i = 0; i < 2000; ++i) {
      if (i % 3) enqueue(stream, seen, i);
      else stream.host([&seen, i] { seen.push_back(i); });
      if (i % 500 == 499) std::this_thread::sleep_for(std::chrono::milliseconds(5));  // the executor goes to sleep in between
    }
    CHECK(wait(stream).ok());
    CHECK(seen.size() == 2000);
    for (size_t i = 0; i < seen.size(); ++i) CHECK(seen[i] == int64_t(i));
    CHECK(stream.launched() == 2000 - 667);
  }
}

TEST("stream: parameters are those of the call") {
  Stream stream(1);
  std::vector<int64_t> seen;
  AppendParams p{&seen, 0, 0};
  for (p.value = 0; p.value < 100; ++p.value) stream.launch(kAppend, &p);
  CHECK(wait(stream).ok());
  CHECK(seen.size() == 100 && seen.front() == 0 && seen.back() == 99);
}

TEST("stream: the first error skips kernels and is what every fence reports, until the caller knows of it") {
  Stream stream(2);
  std::vector<int64_t> seen, freed;
  enqueue(stream, seen, 1);
  CHECK(wait(stream).ok());  // fence 0
  enqueue(stream, seen, 2, true);
  enqueue(stream, seen, 3, true);
  enqueue(stream, seen, 4);
  stream.host([&] { freed.push_back(1); });  // memory is given back all the same
  for (int fence = 1; fence <= 2; ++fence) {
    const Status status = wait(stream);
    CHECK(status.code == Code::outOfRange && status.message == "append: refused 2");
    enqueue(stream, seen, 5);  // by a caller who does not know yet
  }
  stream.told(0);  // that fence had nothing to report
  CHECK(!wait(stream).ok());
  stream.told(1);
  enqueue(stream, seen, 6);
  CHECK(wait(stream).ok());
  CHECK((seen == std::vector<int64_t>{1, 6}));
  CHECK(freed.size() == 1);
}

TEST("stream: who knows of an error does not know of a later one") {
  Stream stream(1);
  std::vector<int64_t> seen;
  enqueue(stream, seen, 1, true);
  CHECK(wait(stream).message == "append: refused 1");  // fence 0
  CHECK(wait(stream).message == "append: refused 1");  // fence 1
  stream.told(0);
  enqueue(stream, seen, 2, true);
  stream.told(1);
  enqueue(stream, seen, 3);
  CHECK(wait(stream).message == "append: refused 2");  // fence 2
  stream.told(2);
  enqueue(stream, seen, 4);
  CHECK(wait(stream).ok());
  CHECK((seen == std::vector<int64_t>{4}));
}

TEST("stream: what was enqueued runs before the stream is gone") {
  for (int round = 0; round < 30; ++round) {
    std::vector<int64_t> seen;
    std::atomic<int> fences{0};
    {
      Stream stream(1 + round % 3);
      for (int64_t i = 0; i < 20; ++i) enqueue(stream, seen, i);
      stream.fence([&](Status) { ++fences; });
    }
    CHECK(seen.size() == 20 && fences == 1);
  }
}

TEST("workspace: grows, keeps what it has, and counts") {
  Workspace workspace(2);
  auto* a = static_cast<char*>(workspace.shared(100));
  CHECK(a && uintptr_t(a) % (2 << 20) == 0);
  a[0] = a[99] = 1;
  CHECK(workspace.shared(50) == a);
  auto* b = static_cast<char*>(workspace.local(1, 3 << 20));
  CHECK(b && b != a);
  b[0] = b[(3 << 20) - 1] = 1;
  CHECK(workspace.bytes() >= 100 + (3 << 20));
  auto* c = static_cast<char*>(workspace.shared(5 << 20));
  c[(5 << 20) - 1] = 1;
  CHECK(workspace.bytes() >= size_t(8 << 20));
}
