#include "server/adapters/store/adapter_store.h"

#include <utility>

#include "server/adapters/formats/posix_disk.h"
#include "server/adapters/store/adapter_reader.h"
#include "server/adapters/store/changes.h"
#include "server/adapters/store/claims.h"
#include "server/adapters/store/component_mover.h"
#include "server/adapters/store/executor.h"
#include "server/adapters/store/fetcher.h"
#include "server/adapters/store/loads.h"
#include "server/adapters/store/notifier.h"
#include "server/adapters/store/records.h"
#include "server/adapters/store/store_state.h"
#include "server/backend/backend.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

AdapterStore::Parts WithDefaults(AdapterStore::Parts parts, const AdapterStoreOptions& options) {
  if (parts.disk == nullptr) parts.disk = MakePosixDisk(options.root);
  if (parts.loads == nullptr) {
    parts.loads = std::make_unique<ThreadExecutor>(options.loader_threads, options.max_queued_loads,
                                                   options.loaders_in_background);
  }
  if (parts.fetches == nullptr) {
    parts.fetches = std::make_unique<ThreadExecutor>(options.fetch_threads, SIZE_MAX);
  }
  return parts;
}

AdapterShape ShapeOf(const ModelConfig& model, const Backend& backend) {
  AdapterShape shape = model.adapter_shape();
  shape.more_tokens = backend.more_tokens();
  return shape;
}

AdapterStore::Parts OnDisk(std::unique_ptr<Disk> disk) {
  AdapterStore::Parts parts;
  parts.disk = std::move(disk);
  return parts;
}

}  // namespace

// The store's classes, each wired to those before it.
struct AdapterStore::Impl {
  Impl(AdapterStoreOptions o, Backend& backend, const ModelConfig& model, const Clock& clock, Parts parts)
      : options(std::move(o)),
        disk(std::move(parts.disk)),
        load_executor(std::move(parts.loads)),
        fetch_executor(std::move(parts.fetches)),
        reader(*disk, backend, ShapeOf(model, backend), options),
        state(options, model.adapter_shape().layers, clock),
        notifier(state),
        records(std::move(parts.journal), *fetch_executor),
        mover(state, reader),
        fetcher(state, notifier, mover, *fetch_executor, options, [this] { loads.Resume(); }),
        claims(state, fetcher),
        changes(state, notifier, records, fetcher),
        loads({state, notifier, records, fetcher, mover, reader, *load_executor, options}) {}

  void Restore();
  void Shutdown();

  const AdapterStoreOptions options;
  const std::unique_ptr<Disk> disk;
  const std::unique_ptr<Executor> load_executor, fetch_executor;  // Shutdown ends their threads
  const AdapterReader reader;
  StoreState state;
  Notifier notifier;
  Records records;
  ComponentMover mover;
  Fetcher fetcher;
  Claims claims;
  Changes changes;
  Loads loads;
};

void AdapterStore::Impl::Restore() {
  if (records.opened() == nullptr) return;
  MutexLock lock(&state.mu);
  state.Restore(*records.opened());
  if (!state.room.kept().empty()) fetcher.Schedule();
}

void AdapterStore::Impl::Shutdown() {
  {
    MutexLock lock(&state.mu);
    state.stopping = true;
  }
  load_executor->Stop();
  fetch_executor->Stop();
  loads.CancelWaiting();
  notifier.Settle();
  {
    MutexLock lock(&state.mu);
    for (const auto& [name, entry] : state.catalogue.entries()) {
      if (entry->serving != nullptr) state.generations.Retire(*entry->serving);
    }
    state.catalogue.Clear();
  }
  notifier.GiveMemoryBack();
}

AdapterStore::Parts::Parts() = default;
AdapterStore::Parts::Parts(Parts&&) noexcept = default;
AdapterStore::Parts::~Parts() = default;

AdapterStore::AdapterStore(AdapterStoreOptions options, Backend& backend, const ModelConfig& model,
                           const Clock& clock, Parts parts)
    : impl_(std::make_shared<Impl>(options, backend, model, clock, WithDefaults(std::move(parts), options))) {
  impl_->Restore();
}

AdapterStore::AdapterStore(AdapterStoreOptions options, std::unique_ptr<Disk> disk, Backend& backend,
                           const ModelConfig& model, const Clock& clock)
    : AdapterStore(std::move(options), backend, model, clock, OnDisk(std::move(disk))) {}

AdapterStore::~AdapterStore() { impl_->Shutdown(); }

absl::StatusOr<AdapterHandle> AdapterStore::Acquire(const std::string& name) {
  ASSIGN_OR_RETURN(std::vector<AdapterHandle> handles, AcquireAll({name}));
  return std::move(handles.front());
}

absl::StatusOr<std::vector<AdapterHandle>> AdapterStore::AcquireAll(const std::vector<std::string>& names) {
  return impl_->claims.Acquire(names, impl_);
}

void AdapterStore::TryPinnedAgain() { impl_->fetcher.RetryKept(); }

void AdapterStore::Want(std::vector<std::string> names) {
  MutexLock lock(&impl_->state.mu);
  impl_->state.fetch_queue.Want(std::move(names));
  impl_->fetcher.Schedule();
}

void AdapterStore::SetWaker(std::function<void()> waker) { impl_->notifier.SetWaker(std::move(waker)); }

absl::StatusOr<std::string> AdapterStore::Locate(const std::string& path) const {
  return impl_->reader.Locate(path);
}

void AdapterStore::Load(const std::string& name, const std::string& path, Done done, ChangeOptions options) {
  impl_->loads.Start(name, path, std::move(done), std::move(options), /*validate=*/false);
}

void AdapterStore::ValidateOnly(const std::string& name, const std::string& path, Done done,
                                ChangeOptions options) {
  impl_->loads.Start(name, path, std::move(done), std::move(options), /*validate=*/true);
}

void AdapterStore::Unload(const std::string& name, Done done, ChangeOptions options) {
  impl_->changes.Unload(name, done, options);
}

void AdapterStore::Pin(const std::string& name, bool pinned, Done done, ChangeOptions options) {
  impl_->changes.Pin(name, pinned, done, options);
}

absl::StatusOr<bool> AdapterStore::WasAnswered(const std::string& id, const std::string& what) const {
  ASSIGN_OR_RETURN(const std::optional<AnsweredRequest> answered, impl_->records.Find(id, what));
  return answered.has_value();
}

void AdapterStore::Remember(const std::string& id, const std::string& what,
                            std::function<void(absl::Status)> done) {
  Records& records = impl_->records;
  records.Run([&records, id, what, done] { done(records.Record({}, {id, what, "", 0})); });
}

absl::StatusOr<AdapterInfo> AdapterStore::Get(const std::string& name) const {
  MutexLock lock(&impl_->state.mu);
  return impl_->state.catalogue.Get(name);
}

std::vector<AdapterInfo> AdapterStore::List() const {
  MutexLock lock(&impl_->state.mu);
  return impl_->state.catalogue.List();
}

uint64_t AdapterStore::AddWatcher(Event event) { return impl_->notifier.AddWatcher(std::move(event)); }

void AdapterStore::RemoveWatcher(uint64_t token) { impl_->notifier.RemoveWatcher(token); }

uint64_t AdapterStore::device_bytes_used() const {
  MutexLock lock(&impl_->state.mu);
  return impl_->state.residency.device_used();
}
uint64_t AdapterStore::host_bytes_used() const {
  MutexLock lock(&impl_->state.mu);
  return impl_->state.residency.host_used();
}
uint64_t AdapterStore::device_bytes_budget() const { return impl_->options.device_bytes; }
uint64_t AdapterStore::host_bytes_budget() const { return impl_->options.host_bytes; }

}  // namespace hydrad
