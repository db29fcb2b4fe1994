#include "tests/e2e/watched_daemon.h"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <optional>

#include "hydrad/v1/admin.grpc.pb.h"
#include "hydrad/v1/inference.grpc.pb.h"
#include "tests/e2e/greedy.h"
#include "tests/e2e/raw_call.h"

namespace hydrad {
namespace {

using grpc::StatusCode;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr seconds kHangs{120};  // what has not settled by then never will
constexpr milliseconds kPause{50};

std::string Tail(const std::string& log) {
  return log.substr(log.size() - std::min<size_t>(log.size(), 4000));
}

}  // namespace

void Findings::Add(const std::string& what) {
  MutexLock lock(&mu_);
  if (++failures_ <= 10) std::printf("FAILED: %s\n", what.c_str());
}

void Findings::Count(const std::string& rpc, StatusCode code) {
  MutexLock lock(&mu_);
  ++counts_[rpc][code];
  ++calls_;
}

int Findings::calls() const {
  MutexLock lock(&mu_);
  return calls_;
}

int Findings::count(const std::string& rpc, StatusCode code) const {
  MutexLock lock(&mu_);
  const auto codes = counts_.find(rpc);
  if (codes == counts_.end()) return 0;
  const auto count = codes->second.find(code);
  return count == codes->second.end() ? 0 : count->second;
}

bool Findings::Report() const {
  MutexLock lock(&mu_);
  for (const auto& [rpc, codes] : counts_) {
    std::printf("%-40s code:calls", rpc.c_str());
    for (const auto& [code, count] : codes) std::printf(" %d:%d", code, count);
    std::printf("\n");
  }
  return failures_ == 0;
}

// One heap: what glibc keeps in the heaps of other threads would hide a leak.
WatchedDaemon::WatchedDaemon(Findings& findings)
    : daemon_({"--model", "deploy/models/tiny", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
               "--metrics-listen", "", "--lame-duck", "0", "--threads", "1", "--adapter-root",
               "deploy/adapters/tiny"},
              {"MALLOC_ARENA_MAX=1"}),
      inference_(daemon_.Address("inference")),
      admin_(daemon_.Address("admin")),
      findings_(findings),
      log_([this] { daemon_.AwaitLine("\n"); }) {}

// What passes, a load or an unload that has begun, is waited for.
bool WatchedDaemon::ApplyAdapters() {
  v1::ApplyAdaptersRequest request;
  request.set_force(true);
  for (const char* name : kAdapters) {
    v1::WantedAdapter* wanted = request.add_adapters();
    wanted->set_name(name);
    wanted->set_path(name);
    wanted->set_pinned(true);
  }
  const auto admin = v1::Admin::NewStub(Channel(admin_));
  const auto limit = steady_clock::now() + kHangs;
  for (;;) {
    grpc::ClientContext context;
    v1::ApplyAdaptersResponse applied;
    const grpc::Status status = admin->ApplyAdapters(&context, request, &applied);
    if (status.ok()) return true;
    const StatusCode code = status.error_code();
    if ((code != StatusCode::ABORTED && code != StatusCode::UNAVAILABLE) || steady_clock::now() > limit) {
      findings_.Add("the adapters are not as before: " + status.error_message());
      return false;
    }
    std::this_thread::sleep_for(kPause);
  }
}

v1::ServerStatus WatchedDaemon::Settle() {
  v1::ServerStatus now;
  if (!ApplyAdapters()) return now;
  const auto admin = v1::Admin::NewStub(Channel(admin_));
  const auto limit = steady_clock::now() + kHangs;
  for (;;) {
    grpc::ClientContext context;
    if (const grpc::Status status = admin->GetServerStatus(&context, {}, &now); !status.ok()) {
      findings_.Add("no status: " + status.error_message());
      return now;
    }
    const bool idle = now.requests_running() == 0 && now.requests_waiting() == 0;
    if (idle && now.kv_blocks_free() == now.kv_blocks_total()) return now;
    if (steady_clock::now() > limit) {
      findings_.Add("something stays: " + now.ShortDebugString());
      return now;
    }
    std::this_thread::sleep_for(kPause);
  }
}

void WatchedDaemon::ExpectPlainAnswer(const std::shared_ptr<grpc::Channel>& channel) {
  v1::GenerateRequest request = GreedyRequest(6);
  request.set_text("Once upon a time");
  request.mutable_output()->set_token_ids(true);
  RawCall call;
  call.method = "/hydrad.v1.Inference/GenerateUnary";
  call.request = request.SerializeAsString();
  const std::optional<RawReply> reply = Make(channel, call);
  v1::GenerateResult result;
  if (!reply || !reply->status.ok() || reply->messages.empty() ||
      !result.ParseFromString(reply->messages[0]) || result.choices_size() != 1) {
    return findings_.Add("a plain request: " + (reply ? reply->status.error_message() : "hangs"));
  }
  const std::string tokens = fmt::format("{}", fmt::join(result.choices(0).token_ids(), " "));
  MutexLock lock(&mu_);
  if (plain_.empty()) plain_ = tokens;
  if (tokens != plain_) findings_.Add("a plain request gives " + tokens + ", not " + plain_);
}

int64_t WatchedDaemon::Resident() const {
  int64_t pages = 0;
  std::ifstream statm(fmt::format("/proc/{}/statm", daemon_.pid()));
  statm >> pages >> pages;
  return pages * sysconf(_SC_PAGESIZE);
}

void WatchedDaemon::End() {
  daemon_.Signal(SIGTERM);
  log_.join();
  if (const int code = daemon_.Wait(); code != 0)
    findings_.Add(fmt::format("the daemon ended with {}:\n{}", code, Tail(daemon_.log())));
}

}  // namespace hydrad
