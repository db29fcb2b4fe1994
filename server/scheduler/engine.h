// The scheduler without its thread: takes requests, runs steps, hands out tokens. scheduler.h puts it behind
// an inbox; tests drive it by hand.
//
// A step is: snapshot -> plan (policy.h) -> preempt, start, reserve blocks -> batch (batch_builder.h) ->
// launch, wait -> each drawn token to its sequence (sequence.h), its piece to the sink, and what has ended
// out of the roster (roster.h). A step that fails ends the requests that had a part in it. Where the model
// runs asynchronously, the next step is prepared between launch and wait (step_ahead.h).
#ifndef HYDRAD_SERVER_SCHEDULER_ENGINE_H_
#define HYDRAD_SERVER_SCHEDULER_ENGINE_H_

#include <absl/status/status.h>

#include <memory>
#include <span>
#include <vector>

#include "server/base/clock.h"
#include "server/metrics/metrics.h"
#include "server/model/model.h"
#include "server/scheduler/batch_builder.h"
#include "server/scheduler/mask_waits.h"
#include "server/scheduler/roster.h"
#include "server/scheduler/scheduler.h"
#include "server/scheduler/step_ahead.h"
#include "server/text/tokenizer.h"

namespace hydrad {

// Single-threaded, and deterministic: the same calls give the same steps. Everything referred to must outlive
// it.
class Engine {
 public:
  Engine(const SchedulerOptions& options, Model& model, const Tokenizer& tokenizer, const Clock& clock,
         Metrics& metrics);

  // REQUIRES: FitToModel (fit_to_model.h) was OK; the id is new.
  void Add(Request request, QueueLimit::Place place);
  // Ends the request with `status`; unknown ids are ignored.
  void End(RequestId id, const absl::Status& status);
  void EndAll(const absl::Status& status);
  // Ends the requests whose deadline has passed, with DEADLINE_EXCEEDED.
  void Expire();
  // Ends the requests whose adapter says that they must, with the adapter's status.
  void EndAborted();
  std::optional<TimePoint> next_deadline() const { return roster_.next_deadline(); }
  // Plans one step and runs it. False if there was nothing to do: no request is left, or those that are left
  // wait for their adapters. A step may do no more than preempt, or wait a little for a mask.
  bool Step();
  // Sets the gauges to what is, with `waiting` requests that have not started.
  void Publish(int waiting);

  bool empty() const { return roster_.empty(); }  // no request is left
  int running() const { return static_cast<int>(roster_.running().size()); }
  int free_blocks() const { return pool_.free(); }

 private:
  bool RunStep();
  void TakeMasks();
  void MakePlan();
  bool CarryOut();  // whether anything has changed but what runs
  bool Start(Roster::Entry entry, int rows);
  bool MayStart(Roster::Entry entry, int rows);
  void RunModel();
  void Advance(const BatchBuilder::Part& part);
  void PrepareNext();
  void AskForLogits();
  void FailStep(const absl::Status& status);
  void TakeScores(std::span<Sampled> scores);
  void Absorb(SequenceId id, Sampled drawn, TimePoint now);
  void NoteToken(ActiveRequest& active, const Sequence& sequence, TimePoint now);
  void EndRequest(ActiveRequest& active, const absl::Status& status);
  void CheckIndex();

  Model& model_;
  const Clock& clock_;
  Metrics& metrics_;
  const PolicyLimits limits_;
  BlockPool pool_;  // outlives the sequences in roster_, as does the index
  PrefixIndex index_;
  PrefixCache cache_;
  Roster roster_;
  StepAhead ahead_;
  MaskWaits mask_waits_;
  std::optional<TimePoint> index_checked_;

  // Of one step; members only to keep their memory.
  std::vector<SequenceView> running_views_, waiting_views_;
  Plan plan_;
  std::vector<BatchBuilder::Part> parts_;
  std::unique_ptr<BatchBuilder> batch_;  // of the parts
  std::vector<SequenceId> unscored_;     // whose prompt has logits that are not numbers
  std::vector<SequenceId> drawing_;      // whose logits are drawn from
  std::vector<Draw> draws_;              // [drawing_]
  std::vector<ScoreRow> scores_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_ENGINE_H_
