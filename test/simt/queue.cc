#include "queue.h"

#include <algorithm>

namespace lantern::simt {

class Lane {
 public:
  std::deque<Work> work;  // not begun
  uint64_t pushed = 0, done = 0;
  bool busy = false;      // one piece is being run
};

Queue::Queue(Order order, uint64_t seed, std::recursive_mutex& machine, std::function<void(std::exception_ptr)> failed)
    : order_(order), random_(seed), machine_(machine), failed_(std::move(failed)) {}

Queue::~Queue() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = closing_ = true;
  }
  changed_.notify_all();
  if (hostThread_.joinable()) hostThread_.join();
}

std::shared_ptr<Lane> Queue::open() {
  std::lock_guard lock(mutex_);
  std::erase_if(lanes_, [](const auto& lane) { return lane.use_count() == 1 && lane->done == lane->pushed; });
  return lanes_.emplace_back(std::make_shared<Lane>());
}

Point Queue::push(const std::shared_ptr<Lane>& lane, Work work) {
  std::unique_lock lock(mutex_);
  if (stopped_) return {lane, lane->pushed};
  std::erase_if(work.after, [&](const Point& p) { return reachedLocked(p); });
  if (work.onHost) {
    ++hostWork_;
    if (!hostThread_.joinable()) hostThread_ = std::thread([this] { this->hostThread(); });
  }
  lane->work.push_back(std::move(work));
  const Point point{lane, ++lane->pushed};
  changed_.notify_all();
  if (order_ == Order::eager)
    while (runnable(*lane, Runner::waiter)) execute(lock, *lane);
  return point;
}

Point Queue::end(const std::shared_ptr<Lane>& lane) const {
  std::lock_guard lock(mutex_);
  return {lane, lane->pushed};
}

std::vector<Point> Queue::ends() const {
  std::lock_guard lock(mutex_);
  std::vector<Point> points;
  for (const auto& lane : lanes_) points.push_back({lane, lane->pushed});
  return points;
}

bool Queue::reached(const Point& point) const {
  std::lock_guard lock(mutex_);
  return reachedLocked(point);
}

bool Queue::idle() const {
  std::lock_guard lock(mutex_);
  return stopped_ || std::all_of(lanes_.begin(), lanes_.end(), [](const auto& lane) { return lane->done == lane->pushed; });
}

std::vector<Work> Queue::endLocked() {
  stopped_ = true;
  std::vector<Work> left;
  for (const auto& lane : lanes_) {
    for (Work& work : lane->work) hostWork_ -= work.onHost, left.push_back(std::move(work));
    lane->work.clear();
  }
  changed_.notify_all();
  return left;
}

void Queue::stop() {
  std::vector<Work> left;
  std::lock_guard lock(mutex_);
  left = endLocked();
}

bool Queue::reachedLocked(const Point& point) const { return stopped_ || !point.lane || point.lane->done >= point.count; }

bool Queue::allReached(const std::vector<Point>& points) const {
  return std::all_of(points.begin(), points.end(), [&](const Point& p) { return reachedLocked(p); });
}

bool Queue::runnable(const Lane& lane, Runner runner) const {
  if (stopped_ || lane.busy || lane.work.empty()) return false;
  const Work& first = lane.work.front();
  return (runner == Runner::hostThread || !first.onHost) && allReached(first.after);
}

// A lane whose first piece can run now and must run before the point is reached; nullptr: there is none, others are at it.
Lane* Queue::needed(const Point& point, Runner runner, std::vector<Lane*>& seen) const {
  Lane* lane = point.lane.get();
  if (reachedLocked(point) || lane->busy || lane->work.empty() || std::find(seen.begin(), seen.end(), lane) != seen.end()) return nullptr;
  seen.push_back(lane);
  if (runnable(*lane, runner)) return lane;
  for (const Point& before : lane->work.front().after)
    if (Lane* found = needed(before, runner, seen)) return found;
  return nullptr;
}

Lane* Queue::choose(const std::vector<Point>& points, Runner runner) {
  Lane* first = nullptr;
  std::vector<Lane*> seen;
  for (size_t i = 0; i < points.size() && !first; ++i) first = needed(points[i], runner, seen);
  if (order_ == Order::late || !first || random_() % 2) return first;
  std::vector<Lane*> all;
  for (const auto& lane : lanes_)
    if (runnable(*lane, runner)) all.push_back(lane.get());
  return all[random_() % all.size()];
}

void Queue::execute(std::unique_lock<std::mutex>& lock, Lane& lane) {
  Work work = std::move(lane.work.front());
  lane.work.pop_front();
  lane.busy = true;
  lock.unlock();
  std::exception_ptr error;
  try {
    std::unique_lock machine(machine_, std::defer_lock);
    if (!work.onHost) machine.lock();
    work.run();
  } catch (...) {
    error = std::current_exception();
  }
  work.run = nullptr;  // what it holds is let go before anybody is told that it is done
  if (error) {
    failed_(error);
    stop();
  }
  lock.lock();
  if (work.onHost) --hostWork_;
  lane.busy = false;
  ++lane.done;
  changed_.notify_all();
}

void Queue::waitLocked(std::unique_lock<std::mutex>& lock, const std::vector<Point>& points, Runner runner) {
  while (!allReached(points)) {
    if (Lane* lane = choose(points, runner)) {
      execute(lock, *lane);
    } else {
      ++waiters_;
      changed_.notify_all();
      changed_.wait(lock);
      --waiters_;
    }
  }
}

void Queue::wait(const std::vector<Point>& points) {
  std::unique_lock lock(mutex_);
  waitLocked(lock, points, Runner::waiter);
}

uint64_t Queue::leftBefore(const std::vector<Point>& points) const {
  uint64_t left = 0;
  for (const Point& p : points)
    if (!reachedLocked(p)) left += p.count - p.lane->done;
  return left;
}

// Half of what is left, so that any loop of polls takes a logarithm of it, and a single one never suffices where it is much.
void Queue::advance(const std::vector<Point>& points) {
  std::unique_lock lock(mutex_);
  for (uint64_t share = (leftBefore(points) + 1) / 2; share > 0; --share) {
    Lane* lane = choose(points, Runner::waiter);
    if (!lane) return;
    execute(lock, *lane);
  }
}

// Runs host functions and what stands before them, a little after they were pushed, or at once when somebody waits for them.
void Queue::hostThread() {
  std::unique_lock lock(mutex_);
  while (!closing_) {
    changed_.wait(lock, [&] { return closing_ || (hostWork_ && !stopped_); });
    if (order_ == Order::late) changed_.wait_for(lock, std::chrono::milliseconds(2), [&] { return closing_ || waiters_ > 0; });
    for (size_t i = 0; i < lanes_.size() && !closing_ && !stopped_; ++i) {
      const std::shared_ptr<Lane> lane = lanes_[i];
      const auto first = std::find_if(lane->work.begin(), lane->work.end(), [](const Work& w) { return w.onHost; });
      if (first == lane->work.end()) continue;
      const uint64_t begun = lane->pushed - lane->work.size();
      waitLocked(lock, {{lane, begun + uint64_t(first - lane->work.begin()) + 1}}, Runner::hostThread);
    }
  }
}

}  // namespace lantern::simt
