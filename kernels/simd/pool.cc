// How a call is shared out. One word holds {tasks, next task} of the call in flight. A worker takes a task by
// adding one to it, so count and ticket always belong to the same call, and a worker that comes late to a
// finished call finds next >= tasks and touches nothing. `body` is written before the word is released and
// stays alive until `pending` is zero, hence a worker that holds a valid ticket may read it.
//
// Going to sleep and posting a call meet like Dekker's algorithm: the worker counts itself a sleeper, then
// looks at the word; Run writes the word, then looks for sleepers; both in one total order.
#include "kernels/simd/pool.h"

#include <sched.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace hydrad::simd {
namespace {

using std::chrono::microseconds;
using std::chrono::steady_clock;

constexpr microseconds kSpin{80};         // between two products of a step nobody should sleep
constexpr microseconds kBeforeYield{10};  // after this the core may be wanted by the thread waited for
constexpr int kPausesPerLook = 32;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
}

// Spins until `ready()` or, unless `limit` is zero, until it has passed; says whether ready.
template <class Ready>
bool SpinUntil(const Ready& ready, microseconds limit) {
  for (int i = 0; i < kPausesPerLook; ++i) {
    if (ready()) return true;
    Pause();
  }
  const auto start = steady_clock::now();
  for (;;) {
    for (int i = 0; i < kPausesPerLook; ++i) {
      if (ready()) return true;
      Pause();
    }
    const auto waited = steady_clock::now() - start;
    if (limit.count() && waited > limit) return false;
    if (waited > kBeforeYield) sched_yield();
  }
}

int UsableCores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  const unsigned n = std::thread::hardware_concurrency();
  return n ? static_cast<int>(n) : 1;
}

}  // namespace

struct Pool::State {
  std::atomic<uint64_t> word{0};  // tasks << 32 | next task
  std::atomic<int> pending{0};    // tasks of the call not yet done
  const std::function<void(int)>* body = nullptr;

  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<int> sleepers{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> workers;

  bool HasWork() const {
    const uint64_t w = word.load(std::memory_order_seq_cst);
    return static_cast<uint32_t>(w) < w >> 32 || stop.load(std::memory_order_relaxed);
  }

  // Takes tasks until none is left.
  void Work() {
    int done = 0;
    for (;;) {
      const uint64_t seen = word.load(std::memory_order_relaxed);
      if (static_cast<uint32_t>(seen) >= seen >> 32) break;
      const uint64_t ticket = word.fetch_add(1, std::memory_order_acquire);
      if (static_cast<uint32_t>(ticket) >= ticket >> 32) break;
      (*body)(static_cast<int>(static_cast<uint32_t>(ticket)));
      ++done;
    }
    if (done) pending.fetch_sub(done, std::memory_order_release);
  }

  void Sleep() {
    std::unique_lock lock(mutex);
    sleepers.fetch_add(1, std::memory_order_seq_cst);
    wake.wait(lock, [this] { return HasWork(); });
    sleepers.fetch_sub(1, std::memory_order_relaxed);
  }

  void Loop() {
    while (!stop.load(std::memory_order_relaxed)) {
      if (!SpinUntil([this] { return HasWork(); }, kSpin)) Sleep();
      Work();
    }
  }
};

Pool::Pool(int threads) : state_(std::make_unique<State>()) {
  if (threads <= 0) threads = UsableCores();
  for (int i = 1; i < threads; ++i) state_->workers.emplace_back([s = state_.get()] { s->Loop(); });
}

Pool::~Pool() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stop.store(true);
  }
  state_->wake.notify_all();
  for (std::thread& t : state_->workers) t.join();
}

int Pool::threads() const { return static_cast<int>(state_->workers.size()) + 1; }

void Pool::Run(int tasks, const std::function<void(int)>& body) {
  if (tasks <= 1 || state_->workers.empty()) {
    for (int i = 0; i < tasks; ++i) body(i);
    return;
  }
  State& s = *state_;
  s.body = &body;
  s.pending.store(tasks, std::memory_order_relaxed);
  s.word.store(static_cast<uint64_t>(tasks) << 32, std::memory_order_seq_cst);
  if (s.sleepers.load(std::memory_order_seq_cst) > 0) {
    { std::lock_guard lock(s.mutex); }
    s.wake.notify_all();
  }
  s.Work();
  SpinUntil([&s] { return s.pending.load(std::memory_order_acquire) == 0; }, microseconds{0});
}

}  // namespace hydrad::simd
