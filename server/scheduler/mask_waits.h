// Sequences whose answers must have a form, while it is not known which tokens may come next.
#ifndef HYDRAD_SERVER_SCHEDULER_MASK_WAITS_H_
#define HYDRAD_SERVER_SCHEDULER_MASK_WAITS_H_

#include <absl/status/status.h>

#include <utility>
#include <vector>

#include "server/base/clock.h"
#include "server/scheduler/roster.h"

namespace hydrad {

// A mask is mostly there within microseconds, so the next step waits a moment for it. A form may be slow,
// even on purpose: one that has been waited for once is passed over from then on, until its mask is there, so
// that it delays others by no more than that moment for each of its tokens. Owned by the scheduler thread.
class MaskWaits {
 public:
  // Adds a sequence, which begins to wait: it is new, or has absorbed a token that is not its last.
  void Add(SequenceId id) { waits_.push_back({id, /*fresh=*/true}); }
  bool empty() const { return waits_.empty(); }

  // Takes out the sequences whose mask is there now. One that cannot go on is put into `failed`, with why.
  using Failed = std::vector<std::pair<SequenceId, absl::Status>>;
  void Update(const Roster& roster, Failed* failed);
  // Gives one mask more time to come, for a step in which there is nothing else to do.
  void Idle(const Roster& roster);

 private:
  struct Wait {
    SequenceId id;
    bool fresh;  // not waited for yet
  };
  std::vector<Wait> waits_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_MASK_WAITS_H_
