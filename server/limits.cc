#include "server/limits.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <vector>

#include "server/base/mutex.h"
#include "server/base/status.h"

namespace hydrad {
namespace {

constexpr int kOwnFiles = 192;        // for adapters that are read, logs, metrics, gRPC's own
constexpr int kFewestOfClients = 32;  // below that there is no point
constexpr int kMost = 1 << 20;

// Threads that wait for each other, so that all of them exist at once.
struct Crowd {
  Mutex mu;
  bool go ABSL_GUARDED_BY(mu) = false;

  static void* Wait(void* crowd) {
    auto* self = static_cast<Crowd*>(crowd);
    MutexLock lock(&self->mu);
    self->mu.Await([self]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return self->go; });
    return nullptr;
  }
};

// Bytes of addresses that the process has now.
uint64_t AddressSpaceInUse() {
  uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

int RaiseFileLimit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  rlimit raised = limit;
  raised.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  return static_cast<int>(std::min<rlim_t>(limit.rlim_cur, kMost));
}

absl::StatusOr<ConnectionShares> ShareDescriptors(int file_limit, int listeners, int admin_listeners,
                                                  int wanted, int wanted_per_peer) {
  const int clients = file_limit - kOwnFiles;
  if (clients < kFewestOfClients) {
    return FailedPrecondition(
        "the limit on open files is {}, and at least {} are needed: raise it (ulimit -n)", file_limit,
        kOwnFiles + kFewestOfClients);
  }
  ConnectionShares shares;
  shares.admin = std::min(256, clients / 8);
  shares.admin_per_peer = std::max(1, shares.admin / 2);
  shares.inference = (clients - shares.admin * admin_listeners) / listeners;
  if (wanted > shares.inference) {
    return FailedPrecondition(
        "--max-connections {} needs a limit on open files of {}, and it is {}: raise it (ulimit -n)", wanted,
        wanted * listeners + kOwnFiles + shares.admin * admin_listeners, file_limit);
  }
  if (wanted > 0) shares.inference = wanted;
  shares.per_peer =
      wanted_per_peer > 0 ? std::min(wanted_per_peer, shares.inference) : std::max(1, shares.inference / 4);
  return shares;
}

absl::Status CheckThreads(int count) {
  Crowd crowd;
  std::vector<pthread_t> threads;
  int error = 0;
  while (static_cast<int>(threads.size()) < count && error == 0) {
    pthread_t thread{};
    error = pthread_create(&thread, nullptr, Crowd::Wait, &crowd);
    if (error == 0) threads.push_back(thread);
  }
  {
    MutexLock lock(&crowd.mu);
    crowd.go = true;
  }
  for (const pthread_t thread : threads) pthread_join(thread, nullptr);
  if (error == 0) return absl::OkStatus();
  return ResourceExhausted(
      "{} threads are needed and the system gives {} ({}): raise the limit on processes (ulimit -u, or pids "
      "of "
      "the control group) or on the address space (ulimit -v), or lower --threads",
      count, threads.size(), std::strerror(error));
}

absl::Status CheckAddressSpace(uint64_t bytes) {
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return absl::OkStatus();
  const uint64_t used = AddressSpaceInUse();
  if (used + bytes <= limit.rlim_cur) return absl::OkStatus();
  return FailedPrecondition(
      "the limit on the address space is {} MiB, and this configuration may take {} MiB: raise it (ulimit "
      "-v), or "
      "lower --kv-cache-memory, --adapter-device-memory or --adapter-host-memory",
      limit.rlim_cur >> 20, (used + bytes) >> 20);
}

}  // namespace hydrad
