#include "server/adapters/store/fetcher.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "server/base/status_macros.h"

namespace hydrad {

void Fetcher::Schedule() {
  if (scheduled_.exchange(true)) return;
  if (!executor_.Post([this] { StartFetches(); })) scheduled_ = false;  // the server is stopping
}

void Fetcher::RetryKept() {
  MutexLock lock(&state_.mu);
  if (state_.fetch_queue.HasKeptToRetry()) Schedule();
}

void Fetcher::StartFetches() {
  notifier_.Settle();
  resume_loads_();
  while (true) {
    FetchQueue::Step step;
    {
      MutexLock lock(&state_.mu);
      scheduled_ = false;
      if (state_.stopping) return;
      step = state_.fetch_queue.Next();
    }
    for (const FetchQueue::Trial& trial : step.trials) StartTrial(trial);
    if (!step.fetch) break;
    const ComponentId component = step.fetch->component;
    const bool posted =
        executor_.Post([this, work = *std::move(step.fetch)]() mutable { RunFetch(std::move(work)); });
    if (!posted) {  // the server is stopping
      MutexLock lock(&state_.mu);
      state_.residency.EndWork(component);
    }
  }
  notifier_.Settle();
}

void Fetcher::RunFetch(Residency::Work work) {
  work.evicted.clear();  // before what it made room for is taken
  {
    MutexLock lock(&state_.mu);
    AdapterEntry& entry = *state_.residency.owner(work.component);
    if (!entry.fetch_begun) entry.fetch_begun = state_.clock.Now();
  }
  const absl::Status status =
      work.kind == Residency::Work::Kind::kRead ? mover_.Read(work.component) : mover_.Upload(work.component);
  {
    MutexLock lock(&state_.mu);
    if (!status.ok()) FetchFailed(work.component, status);
    state_.residency.EndWork(work.component);
    state_.generations.NoteMoves();
    Schedule();
  }
  notifier_.Settle();
}

void Fetcher::FetchFailed(ComponentId component, const absl::Status& status) {
  const Catalogue::EntryPtr entry = state_.residency.owner(component);
  entry->fetch_begun.reset();
  if (entry->serving == nullptr || !std::ranges::count(entry->serving->components, component)) return;
  state_.FailServing(entry, status, /*for_good=*/absl::IsFailedPrecondition(status));
}

void Fetcher::StartTrial(const FetchQueue::Trial& trial) {
  if (executor_.Post([this, trial] { RunTrial(trial); })) return;
  MutexLock lock(&state_.mu);  // the server is stopping
  state_.generations.EndTrial(*trial.generation, false);
  state_.generations.Release(*trial.generation);
}

void Fetcher::RunTrial(const FetchQueue::Trial& trial) {
  const Catalogue::EntryPtr& entry = trial.entry;
  Generation& generation = *trial.generation;
  std::shared_ptr<const AdapterGeneration> whole;
  std::string path;
  {
    MutexLock lock(&state_.mu);
    whole = generation.on_device;
    path = entry->info.path;
  }
  const absl::Status status = options_.try_out(whole);
  whole.reset();
  {
    MutexLock lock(&state_.mu);
    state_.generations.EndTrial(generation, status.ok());
    if (entry->serving == trial.generation && status.ok()) {
      entry->ready = state_.generations.MayRun(generation);
      state_.catalogue.WakeRequests();
    } else if (entry->serving == trial.generation) {
      state_.FailServing(entry, Annotate(status, path), /*for_good=*/absl::IsInvalidArgument(status));
    }
    state_.generations.Release(generation);
    Schedule();
  }
  notifier_.Settle();
}

}  // namespace hydrad
