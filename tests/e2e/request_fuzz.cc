// Nearly valid requests over every RPC of both listeners of a running daemon, beside each other.
//   request_fuzz [SECONDS [SEED]]     from the root of the repository; 60 seconds, any seed (it is printed)
// Fails on a crash, a call that does not end, INTERNAL, UNKNOWN or DATA_LOSS, an RPC that was never answered
// OK, a wrong answer to a plain request meanwhile, memory that stays, or requests, cache blocks or adapters
// that do.
#include <fmt/core.h>
#include <google/protobuf/message.h>
#include <google/protobuf/stubs/logging.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <map>
#include <random>
#include <thread>
#include <utility>

#include "grpc/health/v1/health.pb.h"
#include "hydrad/v1/admin.pb.h"
#include "hydrad/v1/inference.pb.h"
#include "tests/e2e/greedy.h"
#include "tests/e2e/nearly_valid.h"
#include "tests/e2e/raw_call.h"
#include "tests/e2e/watched_daemon.h"

namespace hydrad {
namespace {

using grpc::StatusCode;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr int kWorkers = 3;

// An RPC of one of the daemon's listeners.
struct Rpc {
  std::string name, address;
  const google::protobuf::Message* prototype;
  bool endless;
};

void AddRpcs(const google::protobuf::FileDescriptor& file, const std::string& address,
             std::vector<Rpc>* rpcs) {
  for (int s = 0; s < file.service_count(); ++s) {
    const auto& service = *file.service(s);
    for (int m = 0; m < service.method_count(); ++m) {
      const auto& method = *service.method(m);
      auto* factory = google::protobuf::MessageFactory::generated_factory();
      rpcs->push_back({fmt::format("/{}/{}", service.full_name(), method.name()), address,
                       factory->GetPrototype(method.input_type()), method.name().starts_with("Watch")});
    }
  }
}

std::map<std::string, std::vector<std::string>> Words() {
  std::vector<std::string> names(std::begin(WatchedDaemon::kAdapters), std::end(WatchedDaemon::kAdapters));
  std::vector<std::string> paths = names;
  names.insert(names.end(), {"other", "another", "a.b-c_d", ""});
  paths.insert(paths.end(), {"nowhere", ".", "sql/adapter_config.json"});
  return {{"text", {"Once upon a time", "ROMEO:", "SELECT name FROM", "\u00e9\U0001f600", "x"}},
          {"adapter", {"", "", "", "shakespeare", "domains", "mixed-moa", "sql"}},
          {"name", names},
          {"role", {"user", "user", "assistant", "system", "tool"}},
          {"content", {"Once upon a time", "<|end|>\n<|assistant|>", "", "\u00e9\U0001f600"}},
          {"tools", {R"({"type": "function", "function": {"name": "f"}})", "{}"}},
          {"arguments", {"", R"({"a": [1, "b"]})"}},
          {"template_arguments", {"", R"({"enable_thinking": false})", R"({"documents": []})"}},
          {"path", paths},
          {"expert", {"", "", "sql", "maths"}},
          {"etag", {""}},
          {"request_id", {"", "", "one", "two", "three"}},
          {"page_token", {""}},
          {"service", {"", "readiness", "hydrad.v1.Inference"}},
          {"stop", {"\n", "the", "."}}};
}

// Keys and values that HTTP/2 allows; gRPC's own names among them.
void AddMetadata(NearlyValid& source, RawCall* call) {
  if (!source.OneIn(6)) return;
  const char* keys[] = {"authorization", "x",          "te-x", "hydrad-bin", "content-language",
                        "x-request-id",  "traceparent"};
  for (int i = source.OneIn(8) ? source.Below(100) : 1 + source.Below(3); i > 0; --i) {
    const std::string key = keys[source.Below(static_cast<int>(std::size(keys)))];
    std::string value = source.OneIn(12) ? std::string(source.Below(20'000), 'v')
                                         : "Bearer " + std::string(source.Below(80), 'k');
    if (key.ends_with("-bin")) value = source.Bytes(source.Below(50));
    call->metadata.emplace_back(key, value);
  }
}

RawCall MakeCall(NearlyValid& source, const Rpc& rpc) {
  RawCall call{
      .method = rpc.name, .request = source.Make(*rpc.prototype), .metadata = {}, .deadline = seconds(20)};
  call.endless = rpc.endless;
  if (source.OneIn(10)) call.deadline = milliseconds(source.Below(3) == 0 ? 0 : source.Below(200));
  if (source.OneIn(10)) call.cancel_after = source.Below(3);
  AddMetadata(source, &call);
  return call;
}

// What is wrong with how the call ended; "" if nothing.
std::string WrongEnd(const Rpc& rpc, const RawCall& call, const grpc::Status& status) {
  const std::unique_ptr<google::protobuf::Message> message(rpc.prototype->New());
  const bool malformed = !message->ParseFromString(call.request);
  switch (status.error_code()) {
    case StatusCode::INTERNAL:  // also gRPC's own answer to a watch that it cannot parse
      if (rpc.name == "/grpc.health.v1.Health/Watch") return "";
      [[fallthrough]];
    case StatusCode::UNIMPLEMENTED:
    case StatusCode::UNKNOWN:
    case StatusCode::DATA_LOSS:
      return fmt::format("{} ended with {} '{}', given {}", rpc.name, status.error_code(),
                         status.error_message(),
                         malformed ? "malformed bytes" : message->ShortDebugString().substr(0, 500));
    case StatusCode::OK:
      return malformed ? rpc.name + " took malformed bytes" : "";
    default:
      return "";
  }
}

void Work(uint64_t seed, steady_clock::time_point until, const std::vector<Rpc>& rpcs, WatchedDaemon& watched,
          Findings& findings) {
  NearlyValid source(seed, Words());
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels;
  for (int i = 0; steady_clock::now() < until; ++i) {
    if (i % 100 == 0) {
      grpc::ChannelArguments own;
      own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      for (const std::string& address : {watched.inference(), watched.admin()})
        channels[address] = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), own);
      watched.ExpectPlainAnswer(channels[watched.inference()]);
    }
    const Rpc& rpc = rpcs[static_cast<size_t>(source.Below(static_cast<int>(rpcs.size())))];
    const RawCall call = MakeCall(source, rpc);
    const std::optional<RawReply> reply = Make(channels[rpc.address], call);
    if (!reply) {
      findings.Add(rpc.name + " hangs");
      return;
    }
    // An endless stream that this end cancelled after a message was answered.
    const bool answered = reply->cancelled && !reply->messages.empty();
    findings.Count(rpc.name, answered ? StatusCode::OK : reply->status.error_code());
    if (const std::string wrong = WrongEnd(rpc, call, reply->status); !wrong.empty()) findings.Add(wrong);
  }
}

void RunFor(milliseconds time, uint64_t seed, const std::vector<Rpc>& rpcs, WatchedDaemon& watched,
            Findings& findings) {
  const auto until = steady_clock::now() + time;
  std::vector<std::thread> workers;
  for (int i = 0; i < kWorkers; ++i)
    workers.emplace_back([&, i] { Work(seed + static_cast<uint64_t>(i), until, rpcs, watched, findings); });
  for (std::thread& worker : workers) worker.join();
}

void ExpectSame(const char* what, uint64_t before, uint64_t after, Findings& findings) {
  if (before != after) findings.Add(fmt::format("{}: {} before, {} after", what, before, after));
}

bool Run(int time, uint64_t seed) {
  Findings findings;
  WatchedDaemon watched(findings);
  std::vector<Rpc> rpcs;
  AddRpcs(*v1::GenerateRequest::descriptor()->file(), watched.inference(), &rpcs);
  AddRpcs(*v1::Adapter::descriptor()->file(), watched.admin(), &rpcs);
  for (const std::string& address : {watched.inference(), watched.admin()})
    AddRpcs(*grpc::health::v1::HealthCheckRequest::descriptor()->file(), address, &rpcs);
  const v1::ServerStatus before = watched.Settle();
  RunFor(seconds(time) / 3, seed, rpcs, watched, findings);
  watched.Settle();
  const int64_t warm = watched.Resident();
  const int warm_calls = findings.calls();
  RunFor(seconds(time) * 2 / 3, seed + kWorkers, rpcs, watched, findings);
  const v1::ServerStatus after = watched.Settle();
  // The largest requests and answers there were leave some megabytes of holes; a kilobyte a call is a leak.
  const int64_t grown = watched.Resident() - warm, calls = findings.calls() - warm_calls;
  std::printf("%d calls; memory %lld KiB after the first third, %+lld KiB in the %lld calls since\n",
              findings.calls(), static_cast<long long>(warm >> 10), static_cast<long long>(grown >> 10),
              static_cast<long long>(calls));
  if (grown > (48 << 20) + calls * 1024) findings.Add("memory grows");
  ExpectSame("adapter_bytes_used", before.adapter_bytes_used(), after.adapter_bytes_used(), findings);
  ExpectSame("adapters", before.adapters(), after.adapters(), findings);
  watched.ExpectPlainAnswer(Channel(watched.inference()));
  watched.End();
  for (const Rpc& rpc : rpcs) {  // or it was not tried in earnest
    if (findings.count(rpc.name, StatusCode::OK) == 0) findings.Add(rpc.name + " was never OK");
  }
  return findings.Report();
}

}  // namespace
}  // namespace hydrad

int main(int argc, char** argv) {
  int time = 60;
  uint64_t seed = std::random_device()();
  const auto parse = [](const char* text, auto* number) {
    const std::string_view view(text);
    return std::from_chars(view.data(), view.data() + view.size(), *number).ec == std::errc();
  };
  if (argc > 3 || (argc > 1 && !parse(argv[1], &time)) || (argc > 2 && !parse(argv[2], &seed))) {
    std::fprintf(stderr, "usage: request_fuzz [SECONDS [SEED]]\n");
    return 2;
  }
  google::protobuf::SetLogHandler(nullptr);  // which would tell of every string that is not UTF-8
  std::printf("request_fuzz %d %llu\n", time, static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  const bool passed = hydrad::Run(time, seed);
  std::printf(passed ? "passed\n" : "FAILED\n");
  return passed ? 0 : 1;
}
