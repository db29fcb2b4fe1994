#include "server/scheduler/roster.h"

#include <algorithm>

#include "server/base/check.h"
#include "server/base/status_macros.h"

namespace hydrad {

namespace {

// The model's end tokens and the adapter's.
std::vector<int32_t> EosOf(const Request& request, std::span<const int32_t> model) {
  std::vector<int32_t> eos(model.begin(), model.end());
  if (request.tokens != nullptr && request.tokens->eos >= 0) eos.push_back(request.tokens->eos);
  return eos;
}

}  // namespace

ActiveRequest::ActiveRequest(Request taken, QueueLimit::Place taken_place, std::span<const int32_t> eos)
    : request(std::move(taken)),
      end_tokens(request.stopping, EosOf(request, eos), request.form != nullptr),
      place(std::move(taken_place)),
      last_token(static_cast<size_t>(request.n)) {}

Roster::Roster(const Tokenizer& tokenizer, std::span<const int32_t> eos, int max_running, PrefixCache& cache,
               StartGate::Want want)
    : tokenizer_(tokenizer), eos_(eos), max_running_(max_running), cache_(cache), gate_(std::move(want)) {}

void Roster::Add(Request request, QueueLimit::Place place) {
  ++arrivals_;
  auto owned = std::make_unique<ActiveRequest>(std::move(request), std::move(place), eos_);
  ActiveRequest& active = *owned;
  const Request& r = active.request;
  active.tenant = fair_share_.Enter(r.tenant, r.weight);
  for (size_t i = 0; i < r.adapters(); ++i) adapter_use_.Enter(r.adapter_at(i));
  if (r.adapter) ++unbound_;
  active.first_sequence = next_sequence_;
  next_sequence_ += static_cast<SequenceId>(r.n);
  if (r.deadline) deadlines_.emplace(*r.deadline, r.id);
  const bool is_new = requests_.emplace(r.id, std::move(owned)).second;
  HYDRAD_CHECK(is_new);
  Sequence& first = MakeChoice(active);
  waiting_[active.tenant].emplace(first.id(), Entry{&active, &first});
}

Sequence& Roster::MakeChoice(ActiveRequest& active) {
  const int choice = static_cast<int>(active.choices.size());
  const SequenceId id = active.first_sequence + static_cast<SequenceId>(choice);
  const AdapterTokens* own = active.request.tokens.get();
  const Tokenizer& tokenizer = own == nullptr ? tokenizer_ : *own->tokenizer;
  active.choices.push_back(
      std::make_unique<Sequence>(id, active.request, active.end_tokens, choice, tokenizer));
  active.choices.back()->set_route(active.route.get());
  sequences_.emplace(id, Entry{&active, active.choices.back().get()});
  return *active.choices.back();
}

void Roster::Fork(ActiveRequest& active) {
  const PrefixCache::Namespace ns = cache_.Open(*active.choices.front());
  while (static_cast<int>(active.choices.size()) < active.request.n) {
    Sequence& choice = MakeChoice(active);
    const Entry entry{&active, &choice};
    if (static_cast<int>(running_.size()) < max_running_) {
      choice.Start();
      cache_.Join(choice, ns);
      InsertRunning(entry);
    } else {
      waiting_[active.tenant].emplace(choice.id(), entry);
    }
  }
  cache_.Close();
}

absl::Status Roster::Route(ActiveRequest& active, int unsplit_rows) {
  if (active.routed) return absl::OkStatus();
  ASSIGN_OR_RETURN(active.route, MakeRoute(active.request, unsplit_rows));
  active.routed = true;
  for (const auto& choice : active.choices) choice->set_route(active.route.get());
  return absl::OkStatus();
}

void Roster::Start(Entry entry) {
  EraseWaiting(entry.request->tenant, entry.sequence->id());
  entry.sequence->Start();
  InsertRunning(entry);
  if (entry.request->place) {
    entry.request->place.reset();
    const Request& request = entry.request->request;
    HYDRAD_CHECK(request.bound());
    entry.request->adapter_order = adapter_use_.Start(request.adapter);
    for (size_t i = 1; i < request.adapters(); ++i) adapter_use_.Start(request.adapter_at(i));
    if (request.adapter) --unbound_;
  }
  const bool routing = entry.sequence->routing();
  const std::optional<int> found = cache_.Take(*entry.sequence);
  if (!routing && !entry.request->cached) entry.request->cached = found;
}

void Roster::Rerun(Entry entry) {
  const std::optional<int> found = cache_.Rerun(*entry.sequence);
  if (!entry.request->cached) entry.request->cached = found;
}

void Roster::Preempt(Entry entry) {
  EraseRunning(entry.sequence->id());
  cache_.Keep(*entry.sequence);
  entry.sequence->Preempt();
  waiting_[entry.request->tenant].emplace(entry.sequence->id(), entry);
}

void Roster::Finish(Entry entry) {
  HYDRAD_CHECK(entry.sequence->state() == Sequence::State::kFinished);
  EraseRunning(entry.sequence->id());
  cache_.Keep(*entry.sequence);
  entry.sequence->GiveBlocksBack();
  sequences_.erase(entry.sequence->id());
  ++entry.request->finished;
}

std::unique_ptr<ActiveRequest> Roster::Remove(ActiveRequest& active) {
  for (const auto& choice : active.choices) {
    if (choice->state() == Sequence::State::kFinished) continue;
    sequences_.erase(choice->id());
    if (choice->state() == Sequence::State::kRunning) {
      EraseRunning(choice->id());
    } else {
      EraseWaiting(active.tenant, choice->id());
    }
  }
  const Request& request = active.request;
  if (request.deadline) deadlines_.erase({*request.deadline, request.id});
  fair_share_.Leave(active.tenant);
  for (size_t i = 0; i < request.adapters(); ++i) {
    adapter_use_.Leave(request.adapter_at(i), !active.place.has_value());
  }
  if (request.adapter && active.place) --unbound_;
  const auto found = requests_.find(request.id);
  std::unique_ptr<ActiveRequest> owned = std::move(found->second);
  requests_.erase(found);
  return owned;
}

ActiveRequest* Roster::Find(RequestId id) {
  const auto found = requests_.find(id);
  return found == requests_.end() ? nullptr : found->second.get();
}

Roster::Entry Roster::FindSequence(SequenceId id) const {
  const auto found = sequences_.find(id);
  return found == sequences_.end() ? Entry{} : found->second;
}

ActiveRequest* Roster::Oldest() { return requests_.empty() ? nullptr : requests_.begin()->second.get(); }

ActiveRequest* Roster::Expired(TimePoint now) {
  if (deadlines_.empty() || deadlines_.begin()->first > now) return nullptr;
  return Find(deadlines_.begin()->second);
}

std::optional<TimePoint> Roster::next_deadline() const {
  if (deadlines_.empty()) return std::nullopt;
  return deadlines_.begin()->first;
}

ActiveRequest* Roster::Aborted() {
  for (const auto& [id, active] : requests_) {
    if (!active->request.adapter_status().ok()) return active.get();
  }
  return nullptr;
}

void Roster::UpdateStartGate(TimePoint now) {
  if (unbound_ == 0 && gate_open_) return;  // traffic without adapters pays nothing
  gate_open_ = unbound_ == 0;
  gate_.Begin(now);
  for (const auto& [id, active] : requests_) {
    const Request& request = active->request;
    if (!request.adapter || active->place) continue;
    for (size_t i = 0; i < request.adapters(); ++i) gate_.AddRunning(request.adapter_at(i));
  }
  AddWaitingToGate();
  gate_.Decide();
}

// Tenants take turns, the least served one first; each tenant's requests by arrival.
void Roster::AddWaitingToGate() {
  struct Line {
    double service;
    std::map<SequenceId, Entry>::const_iterator next, end;
  };
  std::vector<Line> lines;
  for (const auto& [tenant, entries] : waiting_) {
    lines.push_back({fair_share_.tenants()[tenant].service, entries.begin(), entries.end()});
  }
  std::ranges::stable_sort(lines, {}, &Line::service);
  while (!lines.empty()) {
    for (Line& line : lines) {
      const auto waits = [](const auto& item) { return !item.second.request->request.bound(); };
      line.next = std::find_if(line.next, line.end, waits);
      if (line.next == line.end) continue;
      const Request& request = line.next++->second.request->request;
      for (size_t i = 0; i < request.adapters(); ++i)
        gate_.AddWaiting(request.adapter_at(i), request.arrival);
    }
    std::erase_if(lines, [](const Line& line) { return line.next == line.end; });
  }
}

bool Roster::MayStart(const Request& request) const {
  for (size_t i = 0; i < request.adapters(); ++i) {
    if (!gate_.MayStart(request.adapter_at(i))) return false;
  }
  return true;
}

void Roster::View(int prefill_chunk, std::vector<SequenceView>* running,
                  std::vector<SequenceView>* waiting) const {
  running->clear();
  waiting->clear();
  for (const Entry& entry : running_) {
    if (!entry.sequence->awaits_mask()) running->push_back(entry.sequence->View(entry.request->tenant));
  }
  const int slots = max_running_ - static_cast<int>(running_.size());
  for (const auto& [tenant, entries] : waiting_) {
    int tokens = 0, count = 0;
    for (const auto& [id, entry] : entries) {
      if (count == slots || tokens >= prefill_chunk) break;
      if (!MayStart(entry.request->request) || entry.sequence->awaits_mask()) continue;
      waiting->push_back(ViewWaiting(entry));
      tokens += waiting->back().pending;
      ++count;
    }
  }
}

SequenceView Roster::ViewWaiting(const Entry& entry) const {
  SequenceView view = entry.sequence->View(entry.request->tenant);
  const PrefixCache::Found found = cache_.Find(*entry.sequence);
  view.computed = found.tokens;
  view.pending -= found.tokens;
  view.blocks = found.blocks;
  view.reclaims = found.reclaims;
  return view;
}

void Roster::InsertRunning(Entry entry) {
  const auto at = std::ranges::lower_bound(running_, entry.sequence->id(), {},
                                           [](const Entry& e) { return e.sequence->id(); });
  running_.insert(at, entry);
}

void Roster::EraseRunning(SequenceId id) {
  const auto at = std::ranges::lower_bound(running_, id, {}, [](const Entry& e) { return e.sequence->id(); });
  HYDRAD_CHECK(at != running_.end() && at->sequence->id() == id);
  running_.erase(at);
}

void Roster::EraseWaiting(TenantId tenant, SequenceId id) {
  const auto entries = waiting_.find(tenant);
  HYDRAD_CHECK(entries != waiting_.end() && entries->second.erase(id) == 1);
  if (entries->second.empty()) waiting_.erase(entries);
}

}  // namespace hydrad
