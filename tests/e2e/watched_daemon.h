// A daemon that is ill-treated, what a well-behaved client sees of it meanwhile, and what was found.
#ifndef HYDRAD_TESTS_E2E_WATCHED_DAEMON_H_
#define HYDRAD_TESTS_E2E_WATCHED_DAEMON_H_

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <string>
#include <thread>

#include "hydrad/v1/admin.pb.h"
#include "server/base/mutex.h"
#include "tests/e2e/daemon_process.h"

namespace hydrad {

// What has gone wrong, and how often each RPC ended how. Thread-safe.
class Findings {
 public:
  // Prints it, if it is among the first.
  void Add(const std::string& what);
  void Count(const std::string& rpc, grpc::StatusCode code);
  int calls() const;
  int count(const std::string& rpc, grpc::StatusCode code) const;
  // Prints the counts; whether nothing has gone wrong.
  bool Report() const;

 private:
  mutable Mutex mu_;
  std::map<std::string, std::map<grpc::StatusCode, int>> counts_ ABSL_GUARDED_BY(mu_);
  int failures_ ABSL_GUARDED_BY(mu_) = 0, calls_ ABSL_GUARDED_BY(mu_) = 0;
};

// The tiny model with its adapters, on free ports. Only ExpectPlainAnswer is for any thread.
class WatchedDaemon {
 public:
  static constexpr const char* kAdapters[] = {"shakespeare", "sql", "domains", "mixed-hydralora",
                                              "mixed-moa"};

  explicit WatchedDaemon(Findings& findings);

  const std::string& inference() const { return inference_; }
  const std::string& admin() const { return admin_; }

  // Makes the adapters kAdapters and no others, all on the device; waits until nothing runs and the cache is
  // free. Returns what the daemon says then.
  v1::ServerStatus Settle();
  // A plain request has the same answer every time.
  void ExpectPlainAnswer(const std::shared_ptr<grpc::Channel>& channel);
  int64_t Resident() const;  // bytes
  // The daemon drains and ends with 0.
  void End();

 private:
  bool ApplyAdapters();

  DaemonProcess daemon_;
  const std::string inference_, admin_;
  Findings& findings_;
  std::thread log_;  // reads it, or the pipe would fill
  Mutex mu_;
  std::string plain_ ABSL_GUARDED_BY(mu_);
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_E2E_WATCHED_DAEMON_H_
