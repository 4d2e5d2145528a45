// The thread pool: every item exactly once, whatever the number of threads, the size of the job and whether the workers sleep.
#include "../../native/runtime/cpu/pool.h"

#include <atomic>
#include <chrono>
#include <memory>

#include "harness.h"

using namespace lantern;

namespace {

// Runs a job of `count` items and checks that each ran once on a thread that exists, with what it wrote visible afterwards.
void runOnce(Pool& pool, int64_t count) {
  const auto ran = std::make_unique<int[]>(size_t(count) + 1);  // plain ints: the pool has to order them
  std::atomic<bool> strayed{false};
  pool.parallel(count, [&](int64_t item, int thread) {
    if (item < 0 || item >= count || thread < 0 || thread >= pool.threads()) strayed = true;
    else ++ran[item];
  });
  CHECK(!strayed);
  for (int64_t i = 0; i < count; ++i) CHECK(ran[i] == 1);
}

}  // namespace

TEST("pool: jobs of every size, 1 to 4 threads") {
  for (int threads = 1; threads <= 4; ++threads) {
    Pool pool(threads);
    CHECK(pool.threads() == threads);
    for (const int64_t count : {0, 1, 2, 3, 5, 64, 1000, 20000}) runOnce(pool, count);
  }
}

TEST("pool: thousands of small jobs back to back") {
  for (int threads = 2; threads <= 4; ++threads) {
    Pool pool(threads);
    for (int job = 0; job < 3000; ++job) runOnce(pool, 2 + job % 7);
  }
}

TEST("pool: workers that went to sleep wake up, and some sleep while others work") {
  Pool pool(4);
  for (int round = 0; round < 10; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(round % 2 ? 1 : 15));  // about and beyond the time they spin
    runOnce(pool, 33);
    pool.parallel(4, [](int64_t item, int) { std::this_thread::sleep_for(std::chrono::milliseconds(item * 2)); });
    runOnce(pool, 3);
  }
}

TEST("pool: made and destroyed, idle or right after a job") {
  for (int round = 0; round < 50; ++round) {
    Pool pool(1 + round % 4);
    if (round % 2) runOnce(pool, 10);
  }
}
