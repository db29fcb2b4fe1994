#include "server/base/background.h"

#include <sched.h>

#include <chrono>
#include <thread>

namespace hydrad {
namespace {

using std::chrono::microseconds;
using std::chrono::steady_clock;

constexpr microseconds kStretch{100};
constexpr microseconds kRest{50};
constexpr microseconds kPrompt{200};  // who wakes later from a rest had to wait for its core
constexpr microseconds kRestAmongOthers{500};

thread_local bool in_background = false;
thread_local steady_clock::time_point stretch_began;

}  // namespace

bool RunInBackground() {
  in_background = true;
  const sched_param none{};
  return sched_setscheduler(/*this thread*/ 0, SCHED_IDLE, &none) == 0;
}

void Throttle() {
  if (!in_background) return;
  const auto now = steady_clock::now();
  if (now - stretch_began < kStretch) return;
  std::this_thread::sleep_for(kRest);
  if (steady_clock::now() - now > kPrompt) std::this_thread::sleep_for(kRestAmongOthers);
  stretch_began = steady_clock::now();
}

}  // namespace hydrad
