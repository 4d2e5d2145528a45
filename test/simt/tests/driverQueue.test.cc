// The queue that runs enqueued work: as late as legal, never out of order, and always in the end.
#include "driverSupport.h"
#include "queue.h"

using namespace lantern::simt;
using namespace lantern::simt::test;

namespace {

struct Lanes {
  std::recursive_mutex machine;
  std::string log;
  std::exception_ptr error;
  Queue queue;
  std::vector<std::shared_ptr<Lane>> lanes;

  explicit Lanes(Order order, uint64_t seed = 0) : queue(order, seed, machine, [this](std::exception_ptr e) { error = e; }) {
    for (int i = 0; i < 3; ++i) lanes.push_back(queue.open());
  }
  Point push(int lane, char letter, std::vector<Point> after = {}) {
    return queue.push(lanes[size_t(lane)], {[this, letter] { log += letter; }, std::move(after), false});
  }
};

}  // namespace

TEST("driver queue: late runs nothing but what a wait needs") {
  Lanes l(Order::late);
  const Point a = l.push(0, 'a');
  l.push(0, 'b');
  const Point c = l.push(1, 'c');
  const Point d = l.push(2, 'd', {c});
  CHECK(l.log.empty() && !l.queue.idle());
  l.queue.wait({a});
  CHECK(l.log == "a" && l.queue.reached(a) && !l.queue.reached(c));
  l.queue.wait({d});
  CHECK(l.log == "acd");
  l.queue.wait(l.queue.ends());
  CHECK(l.log == "acdb" && l.queue.idle());
}

TEST("driver queue: what a piece waits for runs before it, in every order and with every seed") {
  std::set<std::string> logs;
  for (uint64_t seed = 0; seed < 64; ++seed) {
    Lanes l(Order::random, seed);
    Point last;
    for (const char letter : std::string("abcdef"))
      last = l.push((letter - 'a') % 3, letter, letter == 'e' ? std::vector{last} : std::vector<Point>{});
    l.queue.wait(l.queue.ends());
    const auto at = [&](char letter) { return l.log.find(letter); };
    CHECK(l.log.size() == 6 && at('a') < at('d') && at('b') < at('e') && at('c') < at('f') && at('d') < at('e'));
    logs.insert(l.log);
  }
  CHECK(logs.size() > 8);
}

TEST("driver queue: eager runs at the push, but not before what it waits for") {
  Lanes l(Order::eager);
  l.push(0, 'a');
  CHECK(l.log == "a");
  l.push(1, 'b', {l.queue.end(l.lanes[0])});
  CHECK(l.log == "ab");
}

TEST("driver queue: polling ends, and one poll does not do it all") {
  Lanes l(Order::late);
  for (int i = 0; i < 100; ++i) l.push(0, 'x');
  const Point end = l.queue.end(l.lanes[0]);
  int polls = 0;
  for (; !l.queue.reached(end) && polls < 20; ++polls) l.queue.advance({end});
  CHECK(polls > 3 && polls < 12 && l.log.size() == 100);
}

TEST("driver queue: after a failure nothing runs, and nobody waits") {
  Lanes l(Order::late);
  l.push(0, 'a');
  l.queue.push(l.lanes[0], {[] { throw std::runtime_error("broken"); }, {}, false});
  const auto held = std::make_shared<int>();
  l.queue.push(l.lanes[0], {[held] {}, {}, false});
  const Point last = l.push(1, 'b');
  l.queue.wait({l.queue.end(l.lanes[0])});
  CHECK(l.log == "a" && l.error && l.queue.reached(last) && held.use_count() == 1);
  l.push(2, 'c');
  l.queue.wait(l.queue.ends());
  CHECK(l.log == "a");
}

TEST("driver queue: host functions run on a thread of their own, in order, without anybody waiting") {
  for (const Order order : {Order::late, Order::random, Order::eager}) {
    Lanes l(order);
    std::atomic<bool> done{false};
    std::thread::id by;
    l.push(0, 'a');
    l.queue.push(l.lanes[0], {[&] { l.log += 'h', by = std::this_thread::get_id(), done = true; }, {}, true});
    const Point after = l.push(0, 'b');
    for (int i = 0; i < 2000 && !done; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    CHECK(done && by != std::this_thread::get_id());
    l.queue.wait({after});
    CHECK(l.log == "ahb");
  }
}

TEST("driver queue: two threads push and wait, every lane keeps its order") {
  Lanes l(Order::random, 5);
  std::vector<int> seen[2];
  const auto work = [&](int lane) {
    for (int i = 0; i < 200; ++i) {
      const Point p = l.queue.push(l.lanes[size_t(lane)], {[&, lane, i] { seen[lane].push_back(i); }, {}, i % 50 == 7});
      if (i % 10 == 9) l.queue.wait({p});
    }
  };
  std::thread other(work, 1);
  work(0);
  other.join();
  l.queue.wait(l.queue.ends());
  for (const auto& order : seen) {
    CHECK(order.size() == 200);
    CHECK(std::is_sorted(order.begin(), order.end()));
  }
}
