// What is to serve for the first time, tried on the device before any request runs on it.
#include <algorithm>
#include <utility>

#include "server/adapters/store/store_impl.h"

namespace hydrad {

bool AdapterStore::Impl::OnDevice(const std::vector<ComponentId>& components) const {
  return std::ranges::all_of(components, [this](ComponentId component) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return residency.TierOf(component) == Tier::kDevice;
  });
}

bool AdapterStore::Impl::MayRun(const Generation& generation) const {
  return (generation.tried || !options.try_out) && OnDevice(generation.components);
}

// What a load has read, if all of it has found room there. Else it is tried when a request has it brought.
absl::Status AdapterStore::Impl::TryLoaded(LoadJob& job) {
  if (!options.try_out) return absl::OkStatus();
  std::shared_ptr<const AdapterGeneration> whole;
  {
    MutexLock lock(&mu);
    const Generation* serving = job.entry->serving.get();
    job.tried = job.added.empty() && serving != nullptr && serving->tried;  // the same content again
    if (job.tried || !OnDevice(job.components)) return absl::OkStatus();
    std::vector<Residency::DeviceCopy> copies;
    for (const ComponentId component : job.components) copies.push_back(residency.Hold(component));
    whole = Assemble(job.name, 0, copies);
  }
  const absl::Status status = options.try_out(whole);
  whole.reset();
  MutexLock lock(&mu);
  for (const ComponentId component : job.components) residency.Release(component);
  job.tried = status.ok();
  return Annotate(status, job.path);
}

void AdapterStore::Impl::TryIfNew(const EntryPtr& entry) {
  const std::shared_ptr<Generation> generation = entry->serving;
  if (generation->tried || generation->trying || !options.try_out || !OnDevice(generation->components))
    return;
  generation->trying = true;
  Hold(entry->name, *generation);
  if (fetches->Post([this, entry, generation] { RunTrial(entry, generation); })) return;
  generation->trying = false;  // the server is stopping
  Release(*generation);
}

void AdapterStore::Impl::RunTrial(const EntryPtr& entry, const std::shared_ptr<Generation>& generation) {
  std::shared_ptr<const AdapterGeneration> whole;
  std::string path;
  {
    MutexLock lock(&mu);
    whole = generation->on_device;
    path = entry->info.path;
  }
  const absl::Status status = options.try_out(whole);
  whole.reset();
  {
    MutexLock lock(&mu);
    generation->trying = false;
    generation->tried = status.ok();
    if (entry->serving == generation && status.ok()) {
      entry->resident = MayRun(*generation);
      wake = true;
    } else if (entry->serving == generation) {
      FailServing(entry, Annotate(status, path), absl::IsInvalidArgument(status));
    }
    Release(*generation);
    KickPump();
  }
  Settle();
}

}  // namespace hydrad
