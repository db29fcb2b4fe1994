#include "server/scheduler/mask_waits.h"

#include <chrono>

namespace hydrad {
namespace {

// Real time, as it passes for the device and for those who make masks.
constexpr auto kMoment = std::chrono::milliseconds(1), kIdle = std::chrono::milliseconds(5);

}  // namespace

void MaskWaits::Update(const Roster& roster, Failed* failed) {
  if (waits_.empty()) return;
  const TimePoint limit = SteadyClock().Now() + kMoment;
  std::erase_if(waits_, [&](Wait& wait) {
    Sequence* const sequence = roster.FindSequence(wait.id).sequence;
    if (sequence == nullptr) return true;
    if (!sequence->MaskReady(wait.fresh ? limit : TimePoint{})) {
      wait.fresh = false;
      return false;
    }
    if (absl::Status status = sequence->mask_status(); !status.ok())
      failed->emplace_back(wait.id, std::move(status));
    return true;
  });
}

void MaskWaits::Idle(const Roster& roster) {
  if (waits_.empty()) return;
  if (Sequence* const sequence = roster.FindSequence(waits_.front().id).sequence)
    sequence->MaskReady(SteadyClock().Now() + kIdle);
}

}  // namespace hydrad
