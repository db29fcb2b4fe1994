#include "server/scheduler/engine.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "server/backend/device_errors.h"
#include "server/base/check.h"
#include "server/base/log.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"
#include "server/scheduler/fit_to_model.h"
#include "server/scheduler/request_report.h"

namespace hydrad {
namespace {

// What kind of rows a step has, the metrics' label.
const char* Phase(bool decodes, bool prefills) {
  if (decodes && prefills) return "mixed";
  return decodes ? "decode" : "prefill";
}

}  // namespace

Engine::Engine(const SchedulerOptions& options, Model& model, const Tokenizer& tokenizer, const Clock& clock,
               Metrics& metrics)
    : model_(model),
      clock_(clock),
      metrics_(metrics),
      limits_(LimitsOf(options, model.limits())),
      pool_(model.limits().kv_blocks),
      index_(limits_.block_size, pool_),
      cache_(index_, options.prefix_cache),
      roster_(tokenizer, model.config().eos_tokens, limits_.max_running, cache_, options.want_adapters),
      ahead_(limits_),
      batch_(std::make_unique<BatchBuilder>(limits_.block_size)) {
  index_.OnReclaim([this](PrefixIndex::Namespace) { metrics_.PrefixEvicted(); });
}

void Engine::Add(Request request, QueueLimit::Place place) {
  const RequestId id = request.id;
  const bool formed = request.form != nullptr;
  roster_.Add(std::move(request), std::move(place));
  if (formed) mask_waits_.Add(roster_.Find(id)->first_sequence);
}

void Engine::End(RequestId id, const absl::Status& status) {
  if (ActiveRequest* active = roster_.Find(id)) EndRequest(*active, status);
}

void Engine::EndAll(const absl::Status& status) {
  while (ActiveRequest* active = roster_.Oldest()) EndRequest(*active, status);
}

void Engine::Expire() {
  const TimePoint now = clock_.Now();
  while (ActiveRequest* active = roster_.Expired(now)) {
    EndRequest(*active,
               DeadlineExceeded("the deadline passed {}",
                                active->started ? "before the last token" : "before the request started"));
  }
}

void Engine::EndAborted() {
  while (ActiveRequest* active = roster_.Aborted()) EndRequest(*active, active->request.adapter_status());
}

// Everything the request holds goes back before its sink hears of the end, so that whoever hears of it finds
// it free.
void Engine::EndRequest(ActiveRequest& active, const absl::Status& status) {
  const TimePoint now = clock_.Now();
  std::unique_ptr<ActiveRequest> ended = roster_.Remove(active);
  const Usage usage = ReportEnd(*ended, status, now, metrics_);
  const std::shared_ptr<TokenSink> sink = ended->request.sink;
  ended.reset();
  sink->OnDone(status, usage);
}

// An index that is broken may give one tenant what is another's. Better to stop than to mix tenants. It may
// be large, so it is not looked at after every request.
void Engine::CheckIndex() {
  const TimePoint now = clock_.Now();
  if (index_checked_ && now - *index_checked_ < std::chrono::seconds(10)) return;
  index_checked_ = now;
  const absl::Status intact = index_.Check();
  if (!intact.ok()) Log()->critical("the index of the KV cache: {}", std::string(intact.message()));
  HYDRAD_CHECK(intact.ok());
}

bool Engine::Step() {
  if (roster_.empty()) {
    CheckIndex();  // while there is time
    return false;
  }
  TakeMasks();
  if (RunStep()) return true;
  if (mask_waits_.empty()) return false;
  mask_waits_.Idle(roster_);
  return true;
}

// The sequences that go on when their masks are there, and those that cannot.
void Engine::TakeMasks() {
  MaskWaits::Failed failed;
  mask_waits_.Update(roster_, &failed);
  for (const auto& [id, status] : failed) {
    if (ActiveRequest* active = roster_.FindSequence(id).request)
      EndRequest(*active, Annotate(status, "the form of the answer"));
  }
}

bool Engine::RunStep() {
  // A step ahead counts on every mask.
  if (mask_waits_.empty() && ahead_.Take(roster_, &parts_, &batch_)) {
    RunModel();
    return true;
  }
  MakePlan();
  const bool changed = CarryOut();
  if (!parts_.empty()) {
    batch_->Build(parts_);
    RunModel();
  }
  return changed || !parts_.empty() || !plan_.preempt.empty();
}

void Engine::MakePlan() {
  roster_.UpdateStartGate(clock_.Now());
  roster_.View(limits_.prefill_chunk, &running_views_, &waiting_views_);
  const Snapshot snapshot{.tenants = roster_.fair_share().tenants(),
                          .running = running_views_,
                          .waiting = waiting_views_,
                          .free_blocks = pool_.free()};
  PolicyLimits limits = limits_;
  limits.max_running -= running() - static_cast<int>(running_views_.size());  // who waits keeps its place
  NextStep(snapshot, limits, &plan_);
}

bool Engine::CarryOut() {
  bool changed = false;
  for (const SequenceId id : plan_.preempt) {
    roster_.Preempt(roster_.FindSequence(id));
    metrics_.Preempted();
  }
  for (const SequenceId id : plan_.skipped) roster_.FindSequence(id).sequence->Skip();
  // What starts takes its blocks from the cache before anybody takes those that the cache can spare.
  for (const Plan::Chunk& chunk : plan_.chunks) {
    const Roster::Entry entry = roster_.FindSequence(chunk.id);
    const bool waits = entry.sequence != nullptr && entry.sequence->state() == Sequence::State::kWaiting;
    if (waits) changed |= !Start(entry, chunk.rows);
  }
  parts_.clear();
  for (const Plan::Chunk& chunk : plan_.chunks) {
    const Roster::Entry entry = roster_.FindSequence(chunk.id);
    if (entry.sequence == nullptr || entry.sequence->state() != Sequence::State::kRunning) continue;
    const bool reserved = entry.sequence->Reserve(chunk.rows, limits_.block_size, pool_);
    HYDRAD_CHECK(reserved);
    parts_.push_back({entry.sequence, chunk.rows, entry.adapter_order()});
  }
  return changed;
}

// False if it does not start after all and something has changed by that.
bool Engine::Start(Roster::Entry entry, int rows) {
  // The store may have had to take an adapter off the device since the plan was made.
  if (!entry.request->request.BindAdapters()) return true;
  if (!MayStart(entry, rows)) return false;
  roster_.Start(entry);
  if (!entry.request->started) entry.request->started = clock_.Now();
  return true;
}

// False when the sequence does not start in this step after all.
bool Engine::MayStart(Roster::Entry entry, int rows) {
  absl::Status use = CheckAdapterUse(entry.request->request);
  if (use.ok()) use = roster_.Route(*entry.request, UnsplitRows(limits_));
  if (!use.ok()) {
    EndRequest(*entry.request, use);
    return false;
  }
  // That it must not be split, and what the cache has of it, was not sure when the plan was made. The next
  // one knows.
  const SequenceView view = roster_.ViewWaiting(entry);
  const auto planned = std::ranges::find(waiting_views_, view.id, &SequenceView::id);
  return rows >= view.unsplit && planned != waiting_views_.end() && planned->computed == view.computed;
}

void Engine::RunModel() {
  const bool decodes =
      std::ranges::any_of(parts_, [](const auto& part) { return part.sequence->decoding(); });
  const bool prefills =
      !std::ranges::all_of(parts_, [](const auto& part) { return part.sequence->decoding(); });
  AskForLogits();
  const TimePoint begin = clock_.Now();
  hydrad::Step step = model_.Launch(batch_->batch(), draws_, scores_);
  if (model_.asynchronous()) PrepareNext();
  absl::StatusOr<StepResult> result = step.Wait();
  if (!result.ok()) return FailStep(result.status());
  for (size_t i = 0; i < batch_->probed().size(); ++i) batch_->probed()[i]->Saw(result->routes[i]);
  for (const BatchBuilder::Part& part : parts_) Advance(part);
  TallyGates(*batch_, result->gates, roster_);
  TakeScores(result->scores);
  const TimePoint now = clock_.Now();
  metrics_.Step(Phase(decodes, prefills), Seconds(now - begin), batch_->batch().rows(),
                batch_->distinct_adapters());
  for (const SequenceId id : unscored_) {
    if (ActiveRequest* active = roster_.FindSequence(id).request)
      EndRequest(*active, DataLoss("the model gave no finite logits for the prompt"));
  }
  for (size_t i = 0; i < drawing_.size(); ++i) Absorb(drawing_[i], std::move(result->sampled[i]), now);
}

void Engine::Advance(const BatchBuilder::Part& part) {
  Sequence& sequence = *part.sequence;
  const Roster::Entry entry = roster_.FindSequence(sequence.id());
  const bool on_base = sequence.routes_on_base();
  const int fresh = sequence.Advance(part.rows);
  if (on_base && !sequence.routes_on_base()) roster_.Rerun(entry);
  roster_.fair_share().Charge(entry.request->tenant, fresh, 0);
}

void Engine::PrepareNext() {
  if (const Batch* next = ahead_.Prepare(parts_, clock_.Now(), roster_, pool_)) model_.Prepare(*next);
}

void Engine::AskForLogits() {
  drawing_.clear();
  draws_.clear();
  scores_.clear();
  const auto uses = batch_->logit_uses();
  for (size_t i = 0; i < uses.size(); ++i) {
    const Sequence& sequence = *uses[i].sequence;
    const auto index = static_cast<int32_t>(i);
    if (uses[i].draw) {
      drawing_.push_back(sequence.id());
      draws_.push_back({index, sequence.sample_row()});
    } else {
      scores_.push_back(
          {index, sequence.token(uses[i].position + 1), sequence.request().output.prompt_logprobs});
    }
  }
}

// What the step was to write is not there: its requests cannot go on, and the others can.
void Engine::FailStep(const absl::Status& status) {
  metrics_.StepFailed(IsDeviceLost(status));
  Log()->error("a step of {} rows has failed: {}", batch_->batch().rows(), std::string(status.message()));
  std::vector<SequenceId> failed;
  for (const BatchBuilder::Part& part : parts_) failed.push_back(part.sequence->id());
  for (const SequenceId id : failed) {
    if (ActiveRequest* active = roster_.FindSequence(id).request) EndRequest(*active, status);
  }
}

void Engine::TakeScores(std::span<Sampled> scores) {
  unscored_.clear();
  size_t taken = 0;
  for (const BatchBuilder::LogitUse& use : batch_->logit_uses()) {
    if (use.draw) continue;
    Sequence& sequence = *use.sequence;
    Sampled& score = scores[taken++];
    if (score.token < 0) unscored_.push_back(sequence.id());
    roster_.FindSequence(sequence.id()).request->prompt_logprobs.push_back(std::move(score));
    sequence.Scored(use.position);
  }
}

void Engine::Absorb(SequenceId id, Sampled drawn, TimePoint now) {
  const Roster::Entry entry = roster_.FindSequence(id);
  if (entry.request == nullptr) return;  // its request ended by another choice's draw
  ActiveRequest& active = *entry.request;
  if (drawn.token < 0) {
    EndRequest(active, DataLoss("the model gave no finite logits for choice {}", entry.sequence->choice()));
    return;
  }
  NoteToken(active, *entry.sequence, now);
  // The step ahead names the blocks that the sequence had.
  if (entry.sequence->generated().empty() && !roster_.Keep(entry)) ahead_.Drop();
  if (!active.first_token) {
    active.first_token = now;
    active.request.sink->OnStart(TakeStart(active));
  }
  if (static_cast<int>(active.choices.size()) < active.request.n) {
    roster_.Fork(active);
    for (size_t i = 1; i < active.choices.size() && active.request.form != nullptr; ++i)
      mask_waits_.Add(active.choices[i]->id());
  }
  OutputPiece piece = entry.sequence->Absorb({&drawn, 1});
  const bool finished = piece.finished;
  if (!finished && entry.sequence->awaits_mask()) mask_waits_.Add(id);
  if (finished) roster_.Finish(entry);
  const bool empty = !finished && piece.text.empty() && piece.tokens.empty();
  if (!empty && !active.request.sink->OnPiece(std::move(piece))) {
    EndRequest(active, Cancelled("the reader has stalled"));
  } else if (active.finished == active.request.n) {
    EndRequest(active, absl::OkStatus());
  }
}

void Engine::NoteToken(ActiveRequest& active, const Sequence& sequence, TimePoint now) {
  ++active.generated;
  roster_.fair_share().Charge(active.tenant, 0, 1);
  TimePoint& last = active.last_token[static_cast<size_t>(sequence.choice())];
  if (!sequence.generated().empty()) metrics_.InterToken(Seconds(now - last));
  last = now;
}

void Engine::Publish(int waiting) {
  metrics_.SetRequests(running(), waiting);
  metrics_.SetKvBlocks(pool_.total() - pool_.free(), pool_.free());
  metrics_.SetPrefixBlocks(index_.size());
  AdapterUse& use = roster_.adapter_use();
  if (!use.TakeChanged()) return;
  const auto wall = std::chrono::system_clock::now().time_since_epoch();
  metrics_.SetLoraInfo(limits_.max_running, use.Running(), use.Waiting(), Seconds(wall));
}

}  // namespace hydrad
