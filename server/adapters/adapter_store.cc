#include "server/adapters/adapter_store.h"

#include <map>
#include <optional>
#include <utility>

#include "server/adapters/byte_budget.h"
#include "server/adapters/device_expert.h"
#include "server/adapters/disk.h"
#include "server/adapters/loader.h"
#include "server/adapters/posix_disk.h"
#include "server/adapters/read_adapter.h"
#include "server/adapters/registry.h"
#include "server/base/log.h"
#include "server/base/mutex.h"

namespace hydrad {
namespace {

// An adapter on the device with the bytes it was charged, not yet serving.
struct Loaded {
  AdapterInfo info;
  Reservation bytes;
  std::unique_ptr<DeviceAdapter> device;
  AdapterTraits traits;
  std::shared_ptr<const Mixture> mixture;
  std::vector<int32_t> invocation;
};

AdapterInfo Describe(const std::string& name, const std::string& path, AdapterContents contents) {
  AdapterInfo info;
  info.name = name;
  info.state = AdapterState::kUnloaded;
  info.path = path;
  info.family = std::move(contents.family);
  info.digest = std::move(contents.digest);
  info.max_rank = contents.max_rank;
  info.experts = contents.experts;
  info.targets = std::move(contents.targets);
  for (const ExpertWeights& expert : contents.experts_by_name) info.expert_names.push_back(expert.name);
  return info;
}

}  // namespace

// Shared by the store and, through their Pinned, by all generations: the last one may go after the store in a
// program that breaks the destructor's REQUIRES, and must still find its budget.
struct AdapterStore::Impl : std::enable_shared_from_this<Impl> {
  struct Pinned;

  Impl(AdapterStoreOptions options, std::unique_ptr<Disk> disk, Backend& backend, const ModelConfig& model,
       const Clock& clock);

  // The store's methods.
  void Load(const std::string& name, const std::string& path, Done done);
  void ValidateOnly(const std::string& name, const std::string& path, Done done);
  void Unload(const std::string& name, Done done);
  void Shutdown();

  // On loader threads.
  void RunLoad(const std::string& name, const std::string& path, const Done& done);
  absl::StatusOr<AdapterContents> Read(const std::string& path);
  absl::StatusOr<Loaded> ReadToDevice(const std::string& name, const std::string& path);
  absl::Status TakeDevice(const AdapterContents& contents, Loaded* loaded);
  uint64_t BytesOf(const AdapterContents& contents) const;
  void Publish(const std::string& name, Loaded loaded, const Done& done);
  // On any thread: the memory of a generation is back.
  void GenerationGone(const std::string& name, uint64_t generation);

  absl::Status SubmitLoad(const std::string& name, const std::string& path, const Done& done)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu);
  // Sends the registry's events to the watchers. Events leave the registry and reach the watchers under
  // event_mu, so their order is that of the changes, whoever delivers them; when this returns, those of the
  // caller's own changes have been delivered. Never call it with a lock held.
  void DeliverEvents() {
    MutexLock lock(&event_mu);
    DeliverEventsLocked();
  }
  void DeliverEventsLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(event_mu);

  // Constant.
  const AdapterStoreOptions options;
  const std::unique_ptr<Disk> disk;
  Backend& backend;
  const AdapterShape shape;
  const Clock& clock;

  ByteBudget budget;  // thread-safe

  Mutex event_mu;  // before mu, where both are taken
  std::map<uint64_t, Event> watchers ABSL_GUARDED_BY(event_mu);
  uint64_t last_watcher ABSL_GUARDED_BY(event_mu) = 0;

  mutable Mutex mu;
  Registry registry ABSL_GUARDED_BY(mu);
  std::map<std::string, Done> unloads ABSL_GUARDED_BY(mu);  // of names in UNLOADING
  uint64_t last_generation ABSL_GUARDED_BY(mu) = 0;
  bool stopping ABSL_GUARDED_BY(mu) = false;

  Loader loader;  // last: its threads use the rest
};

// What a handle's shared_ptr keeps alive. Its destruction, on whichever thread lets go last, gives the device
// memory back, then the bytes it was charged, then tells the store.
struct AdapterStore::Impl::Pinned {
  std::shared_ptr<Impl> store;
  Reservation bytes;
  AdapterGeneration generation;

  Pinned(std::shared_ptr<Impl> s, Reservation b, AdapterGeneration g)
      : store(std::move(s)), bytes(std::move(b)), generation(std::move(g)) {}
  ~Pinned() {
    generation.device.reset();
    generation.mixture.reset();
    { const Reservation given_back = std::move(bytes); }
    store->GenerationGone(generation.name, generation.generation);
  }
};

AdapterStore::Impl::Impl(AdapterStoreOptions o, std::unique_ptr<Disk> d, Backend& b, const ModelConfig& model,
                         const Clock& c)
    : options(std::move(o)),
      disk(std::move(d)),
      backend(b),
      shape(model.adapter_shape()),
      clock(c),
      budget(options.device_bytes),
      registry(options.max_adapters),
      loader(options.loader_threads, options.max_queued_loads) {}

void AdapterStore::Impl::Load(const std::string& name, const std::string& path, Done done) {
  absl::Status status = CheckAdapterName(name);
  if (status.ok()) status = CheckPath(path);
  if (status.ok()) {
    MutexLock lock(&mu);
    status = SubmitLoad(name, path, done);
  }
  if (!status.ok()) return done(status);
  DeliverEvents();
}

absl::Status AdapterStore::Impl::SubmitLoad(const std::string& name, const std::string& path,
                                            const Done& done) {
  RETURN_IF_ERROR(registry.MayLoad(name));
  // The job cannot overtake BeginLoad: it needs `mu` to end.
  if (!loader.Submit([this, name, path, done] { RunLoad(name, path, done); })) {
    return ResourceExhausted("{} loads are waiting already", options.max_queued_loads);
  }
  registry.BeginLoad(name, path);
  return absl::OkStatus();
}

void AdapterStore::Impl::RunLoad(const std::string& name, const std::string& path, const Done& done) {
  const TimePoint begin = clock.Now();
  absl::StatusOr<Loaded> loaded = ReadToDevice(name, path);
  const double seconds = Seconds(clock.Now() - begin);
  if (loaded.ok()) {
    loaded->info.load_seconds = seconds;
    return Publish(name, *std::move(loaded), done);
  }
  Log()->warn("adapter '{}': load failed: {}", name, loaded.status().ToString());
  {
    MutexLock lock(&mu);
    registry.FailLoad(name, loaded.status(), seconds);
  }
  DeliverEvents();
  done(loaded.status());
}

absl::StatusOr<AdapterContents> AdapterStore::Impl::Read(const std::string& path) {
  {
    MutexLock lock(&mu);
    if (stopping) return Cancelled("the server is stopping");
  }
  return ReadAdapter(*disk, path, shape, options.max_file_bytes, options.base.get());
}

absl::StatusOr<Loaded> AdapterStore::Impl::ReadToDevice(const std::string& name, const std::string& path) {
  ASSIGN_OR_RETURN(AdapterContents contents, Read(path));
  auto bytes = budget.Reserve(BytesOf(contents));
  if (!bytes.ok()) return Annotate(bytes.status(), path);
  Loaded loaded;
  loaded.bytes = *std::move(bytes);
  const absl::Status taken = TakeDevice(contents, &loaded);
  if (!taken.ok()) return Annotate(taken, path);
  loaded.traits = contents.traits;
  loaded.invocation = contents.invocation;
  loaded.info = Describe(name, path, std::move(contents));
  loaded.info.device_bytes = loaded.bytes.bytes();
  return loaded;
}

absl::Status AdapterStore::Impl::TakeDevice(const AdapterContents& contents, Loaded* loaded) {
  if (!contents.experts_by_name.empty()) {
    ASSIGN_OR_RETURN(loaded->mixture, LoadMixture(contents, backend, shape));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(loaded->device, backend.LoadAdapter(contents.weights, shape));
  if (loaded->device->bytes() == loaded->bytes.bytes()) return absl::OkStatus();
  return Internal("took {} bytes of the device where {} were reserved", loaded->device->bytes(),
                  loaded->bytes.bytes());
}

uint64_t AdapterStore::Impl::BytesOf(const AdapterContents& contents) const {
  if (contents.experts_by_name.empty()) return backend.AdapterBytes(contents.weights, shape);
  return MixtureBytes(contents, backend, shape);
}

void AdapterStore::Impl::Publish(const std::string& name, Loaded loaded, const Done& done) {
  AdapterGeneration generation{name,
                               0,
                               std::move(loaded.device),
                               loaded.traits,
                               std::move(loaded.mixture),
                               std::move(loaded.invocation)};
  auto pinned = std::make_shared<Pinned>(shared_from_this(), std::move(loaded.bytes), std::move(generation));
  absl::StatusOr<AdapterInfo> info;
  Registry::Pin replaced;
  {
    MutexLock lock(&mu);
    pinned->generation.generation = ++last_generation;
    const AdapterGeneration* generation = &pinned->generation;
    replaced = registry.Publish(name, Registry::Pin(std::move(pinned), generation), std::move(loaded.info));
    info = registry.Get(name);
  }
  DeliverEvents();
  replaced.reset();
  done(info);
}

void AdapterStore::Impl::ValidateOnly(const std::string& name, const std::string& path, Done done) {
  absl::Status status = CheckAdapterName(name);
  if (status.ok()) status = CheckPath(path);
  if (!status.ok()) return done(status);
  const auto job = [this, name, path, done]() {
    auto contents = Read(path);
    if (!contents.ok()) return done(contents.status());
    const uint64_t bytes = BytesOf(*contents);
    if (const absl::Status room = budget.Fits(bytes); !room.ok()) return done(Annotate(room, path));
    AdapterInfo info = Describe(name, path, *std::move(contents));
    info.device_bytes = bytes;
    done(info);
  };
  if (!loader.Submit(job)) done(ResourceExhausted("{} loads are waiting already", options.max_queued_loads));
}

void AdapterStore::Impl::Unload(const std::string& name, Done done) {
  absl::StatusOr<Registry::Unload> unload;
  {
    MutexLock lock(&mu);
    unload = registry.BeginUnload(name);
    if (unload.ok() && unload->pin != nullptr) unloads.emplace(name, done);
  }
  if (!unload.ok()) return done(unload.status());
  DeliverEvents();
  if (unload->gone) return done(*unload->gone);
  unload->pin.reset();  // the last one: GenerationGone calls `done` from here
}

void AdapterStore::Impl::GenerationGone(const std::string& name, uint64_t generation) {
  std::optional<AdapterInfo> gone;
  Done done;
  {
    MutexLock lock(&mu);
    gone = registry.GenerationGone(name, generation);
    if (!gone) return;
    done = std::move(unloads.extract(name).mapped());
  }
  DeliverEvents();
  done(*gone);
}

void AdapterStore::Impl::DeliverEventsLocked() {
  std::vector<AdapterInfo> events;
  {
    MutexLock lock(&mu);
    events = registry.TakeEvents();
  }
  for (const AdapterInfo& event : events) {
    for (const auto& [token, watcher] : watchers) watcher(event);
  }
}

void AdapterStore::Impl::Shutdown() {
  {
    MutexLock lock(&mu);
    stopping = true;
  }
  loader.Stop();
  std::vector<Registry::Pin> pins;
  {
    MutexLock lock(&mu);
    pins = registry.Clear();
  }
}

AdapterStore::AdapterStore(AdapterStoreOptions options, Backend& backend, const ModelConfig& model,
                           const Clock& clock)
    : AdapterStore(options, MakePosixDisk(options.root), backend, model, clock) {}

AdapterStore::AdapterStore(AdapterStoreOptions options, std::unique_ptr<Disk> disk, Backend& backend,
                           const ModelConfig& model, const Clock& clock)
    : impl_(std::make_shared<Impl>(std::move(options), std::move(disk), backend, model, clock)) {}

AdapterStore::~AdapterStore() { impl_->Shutdown(); }

absl::StatusOr<AdapterHandle> AdapterStore::Acquire(const std::string& name) {
  MutexLock lock(&impl_->mu);
  ASSIGN_OR_RETURN(Registry::Pin pin, impl_->registry.Acquire(name));
  return AdapterHandle(std::move(pin));
}

void AdapterStore::Load(const std::string& name, const std::string& path, Done done) {
  impl_->Load(name, path, std::move(done));
}

void AdapterStore::ValidateOnly(const std::string& name, const std::string& path, Done done) {
  impl_->ValidateOnly(name, path, std::move(done));
}

void AdapterStore::Unload(const std::string& name, Done done) { impl_->Unload(name, std::move(done)); }

absl::StatusOr<AdapterInfo> AdapterStore::Get(const std::string& name) const {
  MutexLock lock(&impl_->mu);
  return impl_->registry.Get(name);
}

std::vector<AdapterInfo> AdapterStore::List() const {
  MutexLock lock(&impl_->mu);
  return impl_->registry.List();
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

uint64_t AdapterStore::device_bytes_used() const { return impl_->budget.used(); }
uint64_t AdapterStore::device_bytes_budget() const { return impl_->budget.total(); }

}  // namespace hydrad
