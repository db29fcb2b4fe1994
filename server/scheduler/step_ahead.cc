#include "server/scheduler/step_ahead.h"

#include <algorithm>
#include <utility>

#include "server/base/check.h"

namespace hydrad {

StepAhead::StepAhead(const PolicyLimits& limits)
    : limits_(limits), batch_(std::make_unique<BatchBuilder>(limits.block_size)) {}

const Batch* StepAhead::Prepare(std::span<const BatchBuilder::Part> parts, TimePoint now, Roster& roster,
                                BlockPool& pool) {
  prepared_ = false;
  roster.UpdateStartGate(now);
  roster.View(limits_.prefill_chunk, &running_, &waiting_);
  if (!Foresee(parts, roster)) return nullptr;
  const Snapshot snapshot{.tenants = tenants_,
                          .running = running_,
                          .waiting = waiting_,
                          .free_blocks = pool.free() + leaving_blocks_};
  NextStep(snapshot, limits_, &plan_);
  if (!Gather(roster) || BlocksLacking() > pool.free()) return nullptr;
  for (const BatchBuilder::Part& part : parts_) {
    const bool reserved = part.sequence->Reserve(part.ahead + part.rows, limits_.block_size, pool);
    HYDRAD_CHECK(reserved);
  }
  batch_->Build(parts_);
  arrivals_ = roster.arrivals();
  prepared_ = true;
  return &batch_->batch();
}

int StepAhead::RowsOf(SequenceId id) const {
  const auto found = rows_.find(id);
  return found == rows_.end() ? 0 : found->second;
}

int StepAhead::BlocksLacking() const {
  int lacking = 0;
  for (const BatchBuilder::Part& part : parts_) {
    const Sequence& sequence = *part.sequence;
    const int end = sequence.computed() + part.ahead + part.rows;
    const int blocks = (end + limits_.block_size - 1) / limits_.block_size;
    lacking += std::max(0, blocks - static_cast<int>(sequence.blocks().size()));
  }
  return lacking;
}

// Fills in running_, tenants_ and leaving_blocks_. False where they cannot be foreseen.
bool StepAhead::Foresee(std::span<const BatchBuilder::Part> parts, const Roster& roster) {
  rows_.clear();
  for (const BatchBuilder::Part& part : parts) rows_.emplace(part.sequence->id(), part.rows);
  const auto tenants = roster.fair_share().tenants();
  tenants_.assign(tenants.begin(), tenants.end());
  running_.clear();
  leaving_blocks_ = 0;
  for (const Roster::Entry& entry : roster.running()) {
    const Sequence& sequence = *entry.sequence;
    const ActiveRequest& active = *entry.request;
    const int rows = RowsOf(sequence.id());
    const std::optional<SequenceView> view = sequence.Foresee(active.tenant, rows);
    if (!view) return false;
    const bool draws = rows > 0 && view->computed == sequence.length();
    TenantView& tenant = tenants_[static_cast<size_t>(active.tenant)];
    tenant.service += FairShare::Cost(sequence.FreshTokens(rows), draws ? 1 : 0, tenant.weight);
    if (draws && static_cast<int>(active.choices.size()) < active.request.n) return false;
    const int drawn = static_cast<int>(sequence.generated().size()) + 1;
    if (!draws || drawn < active.request.stopping.max_tokens) {
      running_.push_back(*view);
    } else {
      if (roster.anybody_waits()) return false;  // the place that it leaves may be taken at once
      leaving_blocks_ += view->freed;
    }
  }
  return true;
}

// The parts of the plan. False if it does more than to go on with what runs.
bool StepAhead::Gather(const Roster& roster) {
  parts_.clear();
  if (!plan_.preempt.empty()) return false;
  for (const Plan::Chunk& chunk : plan_.chunks) {
    const Roster::Entry entry = roster.FindSequence(chunk.id);
    if (entry.sequence->state() != Sequence::State::kRunning) return false;
    parts_.push_back({entry.sequence, chunk.rows, entry.adapter_order(), RowsOf(chunk.id)});
  }
  return !parts_.empty();
}

bool StepAhead::CameTrue(const Roster& roster) const {
  const auto stands = [](const Roster::Entry& entry, const SequenceView& view) {
    const Sequence& sequence = *entry.sequence;
    return sequence.id() == view.id && sequence.computed() == view.computed &&
           sequence.length() - sequence.computed() == view.pending;
  };
  return roster.arrivals() == arrivals_ && std::ranges::equal(roster.running(), running_, stands);
}

bool StepAhead::Take(Roster& roster, std::vector<BatchBuilder::Part>* parts,
                     std::unique_ptr<BatchBuilder>* batch) {
  if (!std::exchange(prepared_, false) || !CameTrue(roster)) return false;
  for (const SequenceId id : plan_.skipped) {
    if (Sequence* sequence = roster.FindSequence(id).sequence) sequence->Skip();
  }
  for (BatchBuilder::Part& part : parts_) part.ahead = 0;
  parts_.swap(*parts);
  batch_.swap(*batch);
  (*batch)->PutDrawnTokens();
  return true;
}

}  // namespace hydrad
