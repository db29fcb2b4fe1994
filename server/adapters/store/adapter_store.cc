#include "server/adapters/store/adapter_store.h"

#include <algorithm>
#include <utility>

#include "server/adapters/formats/posix_disk.h"
#include "server/adapters/store/store_impl.h"

namespace hydrad {
namespace {

// That are remembered between two calls of Want; the scheduler's next step tells of the rest.
constexpr size_t kMostFresh = 256;

AdapterStore::Parts WithDefaults(AdapterStore::Parts parts, const AdapterStoreOptions& options) {
  if (parts.disk == nullptr) parts.disk = MakePosixDisk(options.root);
  if (parts.loads == nullptr) {
    parts.loads = std::make_unique<ThreadExecutor>(options.loader_threads, options.max_queued_loads,
                                                   options.loaders_in_background);
  }
  if (parts.fetches == nullptr)
    parts.fetches = std::make_unique<ThreadExecutor>(options.fetch_threads, SIZE_MAX);
  return parts;
}

AdapterStore::Parts OnDisk(std::unique_ptr<Disk> disk) {
  AdapterStore::Parts parts;
  parts.disk = std::move(disk);
  return parts;
}

}  // namespace

class AdapterStore::Impl::Claim final : public AdapterClaim {
 public:
  Claim(std::shared_ptr<Impl> store, EntryPtr entry) : store_(std::move(store)), key_(entry.get()) {
    state_.entry = std::move(entry);
  }
  ~Claim() override { store_->Release(state_); }

  const std::string& name() const override { return key_->name; }
  const void* key() const override { return key_; }
  bool ready() const override { return key_->resident.load(std::memory_order_relaxed); }
  bool blocked() const override { return key_->blocked.load(std::memory_order_relaxed); }
  bool kept() const override { return key_->kept.load(std::memory_order_relaxed); }
  absl::Status status() const override {
    if (!state_.ended.load(std::memory_order_relaxed)) return absl::OkStatus();
    MutexLock lock(&store_->mu);
    return state_.why;
  }
  std::shared_ptr<const AdapterGeneration> Bind() override { return store_->Bind(state_); }
  void Unbind() override { store_->Unbind(state_); }

  ClaimState& state() { return state_; }

 private:
  const std::shared_ptr<Impl> store_;
  const AdapterEntry* const key_;
  ClaimState state_;  // guarded by the store's lock
};

AdapterStore::Parts::Parts() = default;
AdapterStore::Parts::Parts(Parts&&) noexcept = default;
AdapterStore::Parts::~Parts() = default;

AdapterStore::Impl::Impl(AdapterStoreOptions o, Backend& b, const ModelConfig& model, const Clock& c,
                         Parts parts)
    : options(std::move(o)),
      disk(std::move(parts.disk)),
      backend(b),
      shape(model.adapter_shape()),
      clock(c),
      journal(std::move(parts.journal)),
      catalogue(options.max_adapters),
      residency(options.host_bytes, options.device_bytes, options.fetch_threads),
      loads(std::move(parts.loads)),
      fetches(std::move(parts.fetches)) {
  if (journal != nullptr) Restore(journal->opened());
}

absl::StatusOr<std::vector<AdapterHandle>> AdapterStore::Impl::Acquire(
    const std::vector<std::string>& names) {
  MutexLock lock(&mu);
  std::vector<EntryPtr> entries;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(EntryPtr entry, catalogue.Serving(name));
    if (!entry->resident && entry->backoff.Left(clock.Now()) > Duration{}) {
      return NotNow(name, entry->info.error);
    }
    entries.push_back(std::move(entry));
  }
  if (room_changed) {
    LookAtRoom();
    KickPump();  // tells those whom that has ended
  }
  RETURN_IF_ERROR(CheckRoom(entries));
  const auto together = std::make_shared<const std::vector<EntryPtr>>(std::move(entries));
  std::vector<AdapterHandle> handles;
  for (const EntryPtr& entry : *together) handles.push_back(Claimed(entry, together));
  return handles;
}

AdapterHandle AdapterStore::Impl::Claimed(const EntryPtr& entry,
                                          std::shared_ptr<const std::vector<EntryPtr>> together) {
  auto claim = std::make_unique<Claim>(shared_from_this(), entry);
  claim->state().together = std::move(together);
  entry->claims.insert(&claim->state());
  ++entry->waiting;
  const bool there =
      std::ranges::all_of(*claim->state().together, [](const EntryPtr& e) { return e->resident.load(); });
  if (!there && fresh.size() < kMostFresh) {  // what is there must not make room for the rest
    fresh.push_back(entry->name);
    KickPump();
  }
  return AdapterHandle(std::move(claim));
}

std::shared_ptr<const AdapterGeneration> AdapterStore::Impl::Bind(ClaimState& claim) {
  MutexLock lock(&mu);
  AdapterEntry& entry = *claim.entry;
  if (claim.ended || claim.bound != nullptr || !entry.resident) return nullptr;
  claim.bound = entry.serving;
  Hold(entry.name, *claim.bound);
  --entry.waiting;
  return claim.bound->on_device;
}

void AdapterStore::Impl::Hold(const std::string& name, Generation& generation) {
  std::vector<Residency::DeviceCopy> copies;
  for (const ComponentId component : generation.components) copies.push_back(residency.Hold(component));
  if (generation.bound++ == 0) generation.on_device = Assemble(name, generation.number, copies);
}

// What requests of one generation share.
std::shared_ptr<const AdapterGeneration> AdapterStore::Impl::Assemble(
    const std::string& name, uint64_t number, const std::vector<Residency::DeviceCopy>& copies) const {
  auto whole = std::make_shared<AdapterGeneration>();
  whole->name = name;
  whole->generation = number;
  if (copies.front()->routers) {
    whole->mixture = MakeMixture(copies, shape.layers);
    return whole;
  }
  whole->device = copies.front()->device;
  whole->traits = copies.front()->traits;
  whole->invocation = copies.front()->invocation;
  return whole;
}

void AdapterStore::Impl::Unbind(ClaimState& claim) {
  MutexLock lock(&mu);
  Release(*std::exchange(claim.bound, nullptr));
  if (!claim.ended) ++claim.entry->waiting;
  KickPump();
}

void AdapterStore::Impl::Release(Generation& generation) {
  if (--generation.bound == 0) generation.on_device.reset();
  for (const ComponentId component : generation.components) residency.Release(component);
  DropIfUnused(generation);
}

// Memory is not given back here: the thread that lets go of a handle has better things to do.
void AdapterStore::Impl::Release(ClaimState& claim) {
  MutexLock lock(&mu);
  claim.entry->claims.erase(&claim);
  if (claim.bound != nullptr) {
    Release(*std::exchange(claim.bound, nullptr));
  } else if (!claim.ended) {
    --claim.entry->waiting;
  }
  FinishUnload(claim.entry);
  KickPump();
}

void AdapterStore::Impl::Want(std::vector<std::string> names) {
  MutexLock lock(&mu);
  wanted = std::move(names);
  fresh.clear();
  KickPump();
}

void AdapterStore::Impl::CollectGarbage() {
  MutexLock settle(&settle_mu);
  std::vector<Residency::Garbage> garbage;
  {
    MutexLock lock(&mu);
    garbage = residency.TakeGarbage();
  }
  for (Residency::Garbage& component : garbage) component.values.clear();
  MutexLock lock(&mu);
  for (const Residency::Garbage& component : garbage) {
    residency.Free(component.id);
    if (component.owner == nullptr) continue;
    --component.owner->components;
    FinishUnload(component.owner);
  }
}

void AdapterStore::Impl::Settle() {
  CollectGarbage();
  std::vector<std::pair<Done, AdapterInfo>> gone;
  bool tell = false;
  {
    MutexLock lock(&mu);
    gone = std::exchange(unloaded, {});
    tell = std::exchange(wake, false);
  }
  DeliverEvents();
  for (const auto& [done, info] : gone) done(info);
  if (!tell) return;
  MutexLock lock(&waker_mu);
  if (waker) waker();
}

void AdapterStore::Impl::DeliverEvents() {
  MutexLock lock(&event_mu);
  DeliverEventsLocked();
}

void AdapterStore::Impl::DeliverEventsLocked() {
  std::vector<AdapterEvent> events;
  {
    MutexLock lock(&mu);
    events = catalogue.TakeEvents();
  }
  for (const AdapterEvent& event : events) {
    for (const auto& [token, watcher] : watchers) watcher(event);
  }
}

void AdapterStore::Impl::Shutdown() {
  {
    MutexLock lock(&mu);
    stopping = true;
  }
  loads->Stop();
  fetches->Stop();
  std::vector<JobPtr> waiting;
  {
    MutexLock lock(&mu);
    waiting = std::exchange(parked, {});
  }
  for (const JobPtr& job : waiting) FinishLoad(job, Cancelled("the server is stopping"));
  Settle();
  {
    MutexLock lock(&mu);
    for (const auto& [name, entry] : catalogue.entries()) {
      if (entry->serving == nullptr) continue;
      entry->serving->serving = false;
      DropIfUnused(*entry->serving);
    }
    catalogue.Clear();
  }
  CollectGarbage();
}

AdapterStore::AdapterStore(AdapterStoreOptions options, Backend& backend, const ModelConfig& model,
                           const Clock& clock, Parts parts)
    : impl_(std::make_shared<Impl>(options, backend, model, clock, WithDefaults(std::move(parts), options))) {
}

AdapterStore::AdapterStore(AdapterStoreOptions options, std::unique_ptr<Disk> disk, Backend& backend,
                           const ModelConfig& model, const Clock& clock)
    : AdapterStore(std::move(options), backend, model, clock, OnDisk(std::move(disk))) {}

AdapterStore::~AdapterStore() { impl_->Shutdown(); }

absl::StatusOr<AdapterHandle> AdapterStore::Acquire(const std::string& name) {
  ASSIGN_OR_RETURN(std::vector<AdapterHandle> handles, impl_->Acquire({name}));
  return std::move(handles.front());
}

absl::StatusOr<std::vector<AdapterHandle>> AdapterStore::AcquireAll(const std::vector<std::string>& names) {
  return impl_->Acquire(names);
}

void AdapterStore::TryPinnedAgain() { impl_->TryPinnedAgain(); }

void AdapterStore::Want(std::vector<std::string> names) { impl_->Want(std::move(names)); }

void AdapterStore::SetWaker(std::function<void()> waker) {
  MutexLock lock(&impl_->waker_mu);
  impl_->waker = std::move(waker);
}

absl::StatusOr<std::string> AdapterStore::Locate(const std::string& path) const {
  return impl_->disk->Locate(path);
}

void AdapterStore::Load(const std::string& name, const std::string& path, Done done, ChangeOptions options) {
  impl_->StartLoad(std::make_shared<Impl::LoadJob>(
      Impl::LoadJob{name, path, std::move(options), std::move(done), /*validate=*/false}));
}

void AdapterStore::ValidateOnly(const std::string& name, const std::string& path, Done done,
                                ChangeOptions options) {
  impl_->StartLoad(std::make_shared<Impl::LoadJob>(
      Impl::LoadJob{name, path, std::move(options), std::move(done), /*validate=*/true}));
}

void AdapterStore::Unload(const std::string& name, Done done, ChangeOptions options) {
  impl_->Unload(name, done, options);
}

void AdapterStore::Pin(const std::string& name, bool pinned, Done done, ChangeOptions options) {
  impl_->Pin(name, pinned, done, options);
}

absl::StatusOr<bool> AdapterStore::WasAnswered(const std::string& id, const std::string& what) const {
  MutexLock lock(&impl_->mu);
  return impl_->WasAnswered(id, what);
}

void AdapterStore::Remember(const std::string& id, const std::string& what,
                            std::function<void(absl::Status)> done) {
  impl_->Commit([impl = impl_.get(), id, what, done] { done(impl->Record({}, id, {id, what, "", 0})); });
}

absl::StatusOr<AdapterInfo> AdapterStore::Get(const std::string& name) const {
  MutexLock lock(&impl_->mu);
  return impl_->catalogue.Get(name);
}

std::vector<AdapterInfo> AdapterStore::List() const {
  MutexLock lock(&impl_->mu);
  return impl_->catalogue.List();
}

uint64_t AdapterStore::AddWatcher(Event event) {
  MutexLock lock(&impl_->event_mu);
  impl_->DeliverEventsLocked();  // what happened before now is not the new watcher's
  impl_->watchers.emplace(++impl_->last_watcher, std::move(event));
  return impl_->last_watcher;
}

void AdapterStore::RemoveWatcher(uint64_t token) {
  MutexLock lock(&impl_->event_mu);
  impl_->watchers.erase(token);
}

uint64_t AdapterStore::device_bytes_used() const {
  MutexLock lock(&impl_->mu);
  return impl_->residency.device_used();
}
uint64_t AdapterStore::host_bytes_used() const {
  MutexLock lock(&impl_->mu);
  return impl_->residency.host_used();
}
uint64_t AdapterStore::device_bytes_budget() const { return impl_->options.device_bytes; }
uint64_t AdapterStore::host_bytes_budget() const { return impl_->options.host_bytes; }

}  // namespace hydrad
