// The work that lies in a context's streams, and who runs it when.
//
// A GPU may run enqueued work at any time between its call and the wait that needs it. Nothing is run when it is enqueued here (unless the
// order is `eager`): the thread that waits runs it, and in the order `late` nothing but what it waits for. So a read of a buffer without
// a wait finds old contents, and a pinned buffer that is written again too early is copied with its new contents.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "environment.h"

namespace lantern::simt {

class Lane;  // an ordered run of work: a stream

// Reached when the first `count` pieces of the lane's work are done.
struct Point {
  std::shared_ptr<Lane> lane;
  uint64_t count = 0;
};

struct Work {
  std::function<void()> run;
  std::vector<Point> after;  // what it waits for besides the work before it in its lane
  bool onHost = false;       // a host function: run by the queue's own thread, at last soon after it is the first of its lane
};

class Queue {
 public:
  // Everything but host functions runs under `machine`, one piece at a time. A piece that throws ends the queue: `failed` is told why, and
  // all work that is left, or comes later, counts as done without being run.
  Queue(Order order, uint64_t seed, std::recursive_mutex& machine, std::function<void(std::exception_ptr)> failed);
  ~Queue();  // what is left is not run

  std::shared_ptr<Lane> open();
  Point push(const std::shared_ptr<Lane>& lane, Work work);
  Point end(const std::shared_ptr<Lane>& lane) const;  // after all that was pushed
  std::vector<Point> ends() const;                     // of all lanes
  bool reached(const Point& point) const;
  bool idle() const;                                   // nothing left in any lane

  void wait(const std::vector<Point>& points);
  // For a poll: runs a part of what the points need, so that polling ends.
  void advance(const std::vector<Point>& points);
  void stop();  // as after a failure

 private:
  enum class Runner { waiter, hostThread };
  Lane* needed(const Point& point, Runner runner, std::vector<Lane*>& seen) const;
  Lane* choose(const std::vector<Point>& points, Runner runner);
  bool runnable(const Lane& lane, Runner runner) const;
  bool reachedLocked(const Point& point) const;
  bool allReached(const std::vector<Point>& points) const;
  uint64_t leftBefore(const std::vector<Point>& points) const;
  void execute(std::unique_lock<std::mutex>& lock, Lane& lane);
  void waitLocked(std::unique_lock<std::mutex>& lock, const std::vector<Point>& points, Runner runner);
  void hostThread();
  std::vector<Work> endLocked();  // stops, and takes what is left: to be let go without the lock

  const Order order_;
  std::mt19937_64 random_;
  std::recursive_mutex& machine_;
  const std::function<void(std::exception_ptr)> failed_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<Lane>> lanes_;
  uint64_t hostWork_ = 0;     // host functions that are not done
  int waiters_ = 0;           // threads that can only go on when another has run something
  bool stopped_ = false, closing_ = false;
  std::thread hostThread_;
};

}  // namespace lantern::simt
