// Mixing adapters, and their life while requests run.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <future>
#include <map>

#include "tests/e2e/readme_rows.h"

namespace hydrad {
namespace {

constexpr int kTokens = 24;

// What is generated with these adapters and weights.
v1::GenerateResult Mixed(RowsDaemon& daemon, const std::vector<std::pair<std::string, float>>& adapters) {
  v1::GenerateRequest request = RowRequest(kTokens);
  for (const auto& [name, weight] : adapters) {
    v1::WeightedAdapter& adapter = *request.add_adapters();
    adapter.set_name(name);
    adapter.set_weight(weight);
  }
  return daemon.Ask(request);
}

void Weights(RowsDaemon& daemon) {
  const std::vector<int> base = Ids(daemon.AskOne(RowRequest(kTokens))),
                         sql = Ids(daemon.AskOne(RowRequest(kTokens, "sql"))),
                         shakespeare = Ids(daemon.AskOne(RowRequest(kTokens, "shakespeare")));
  const auto mixed = [&](float a, float b) {
    return Ids(Mixed(daemon, {{"sql", a}, {"shakespeare", b}}).choices(0));
  };
  EXPECT_EQ(mixed(1, 0), sql);
  EXPECT_EQ(mixed(0, 1), shakespeare);
  EXPECT_EQ(mixed(0, 0), base);
  const v1::GenerateResult result = Mixed(daemon, {{"sql", 0.5f}, {"shakespeare", 0.5f}});
  EXPECT_THAT(Ids(result.choices(0)), testing::AllOf(testing::Ne(sql), testing::Ne(shakespeare)));
  ASSERT_EQ(result.start().adapters_size(), 2);
  EXPECT_EQ(result.start().adapters(1).name(), "shakespeare");
  EXPECT_EQ(result.start().adapters(1).weight(), 0.5f);
}

void StrongestHeads(RowsDaemon& daemon) {
  v1::GenerateRequest request = RowRequest(kTokens, "domains");
  const v1::GenerateResult all = daemon.Ask(request);
  EXPECT_FALSE(all.start().approximate());
  request.set_adapter_top_k(4);  // as many as it has
  const v1::GenerateResult four = daemon.Ask(request);
  EXPECT_FALSE(four.start().approximate());
  EXPECT_EQ(Ids(four.choices(0)), Ids(all.choices(0)));
  request.set_adapter_top_k(1);
  const v1::GenerateResult one = daemon.Ask(request);
  EXPECT_TRUE(one.start().approximate());
  EXPECT_NE(one.choices(0).logprobs(0).token().logprob(), all.choices(0).logprobs(0).token().logprob());
}

grpc::Status Load(v1::Admin::Stub& admin, const std::string& name, const std::string& path,
                  v1::Adapter* adapter) {
  v1::LoadAdapterRequest request;
  request.set_name(name);
  request.set_path(path);
  grpc::ClientContext context;
  return admin.LoadAdapter(&context, request, adapter);
}

// A stream that has begun, with the adapter's name.
struct Running {
  Running(RowsDaemon& daemon, const std::string& adapter, int tokens) {
    v1::GenerateRequest request = RowRequest(tokens, adapter);
    request.mutable_output()->clear_logprobs();
    reader = daemon.inference().Generate(&context, request);
    v1::GenerateResponse message;
    EXPECT_TRUE(reader->Read(&message));
    generation = message.start().generation();
  }
  std::vector<int> Finish() {
    std::vector<int> ids;
    for (v1::GenerateResponse message; reader->Read(&message);) {
      ids.insert(ids.end(), message.chunk().token_ids().begin(), message.chunk().token_ids().end());
    }
    EXPECT_TRUE(reader->Finish().ok());
    return ids;
  }
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader;
  uint64_t generation = 0;
};

// The running request keeps what it began with, the next one gets the new one, and the unload waits for both.
void ReplaceAndUnloadWhileRequestsRun(RowsDaemon& daemon) {
  constexpr int kLong = 300;
  v1::Adapter first, second;
  ASSERT_TRUE(Load(daemon.admin(), "changing", "sql", &first).ok());
  Running old(daemon, "changing", kLong);
  ASSERT_TRUE(Load(daemon.admin(), "changing", "shakespeare", &second).ok());
  EXPECT_GT(second.generation(), first.generation());
  Running fresh(daemon, "changing", kLong);
  auto unloaded = std::async(std::launch::async, [&] {
    v1::UnloadAdapterRequest request;
    request.set_name("changing");
    grpc::ClientContext context;
    v1::Adapter gone;
    EXPECT_TRUE(daemon.admin().UnloadAdapter(&context, request, &gone).ok());
    return gone.state();
  });
  EXPECT_EQ(old.generation, first.generation());
  EXPECT_EQ(fresh.generation, second.generation());
  const std::vector<int> of_old = old.Finish(), of_fresh = fresh.Finish();
  EXPECT_EQ(unloaded.get(), v1::Adapter::UNLOADED);
  EXPECT_EQ(of_old, Ids(daemon.AskOne(RowRequest(kLong, "sql"))));
  EXPECT_EQ(of_fresh, Ids(daemon.AskOne(RowRequest(kLong, "shakespeare"))));
  grpc::ClientContext context;
  v1::GenerateResult result;
  EXPECT_EQ(daemon.inference().GenerateUnary(&context, RowRequest(1, "changing"), &result).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

void PinAndUnpin(RowsDaemon& daemon) {
  const auto get = [&] {
    v1::GetAdapterRequest request;
    request.set_name("sql");
    grpc::ClientContext context;
    v1::Adapter adapter;
    EXPECT_TRUE(daemon.admin().GetAdapter(&context, request, &adapter).ok());
    return adapter;
  };
  v1::PinAdapterRequest pin;
  pin.set_name("sql");
  v1::UnpinAdapterRequest unpin;
  unpin.set_name("sql");
  v1::Adapter adapter;
  grpc::ClientContext pinning, unpinning;
  ASSERT_TRUE(daemon.admin().PinAdapter(&pinning, pin, &adapter).ok());
  daemon.AskOne(RowRequest(1, "sql"));  // when this has been answered it has been brought
  EXPECT_TRUE(get().pinned());
  EXPECT_EQ(get().tier(), v1::Adapter::DEVICE);
  ASSERT_TRUE(daemon.admin().UnpinAdapter(&unpinning, unpin, &adapter).ok());
  EXPECT_FALSE(get().pinned());
}

v1::ApplyAdaptersResponse Apply(RowsDaemon& daemon, const std::map<std::string, std::string>& wanted,
                                bool validate_only) {
  v1::ApplyAdaptersRequest request;
  for (const auto& [name, path] : wanted) {
    v1::WantedAdapter& adapter = *request.add_adapters();
    adapter.set_name(name);
    adapter.set_path(path);
  }
  request.set_validate_only(validate_only);
  grpc::ClientContext context;
  v1::ApplyAdaptersResponse response;
  const grpc::Status status = daemon.admin().ApplyAdapters(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

std::map<std::string, std::string> Paths(RowsDaemon& daemon) {
  grpc::ClientContext context;
  v1::ListAdaptersResponse response;
  EXPECT_TRUE(daemon.admin().ListAdapters(&context, {}, &response).ok());
  std::map<std::string, std::string> paths;
  for (const v1::Adapter& adapter : response.adapters()) paths[adapter.name()] = adapter.path();
  return paths;
}

// What was applied is there after a kill -9, on disk, and read when a request asks for it.
void ApplyAndJournal(RowsDaemon& other) {
  const std::string state = fmt::format("{}/hydrad_rows_state_{}", testing::TempDir(), getpid());
  std::filesystem::remove_all(state);
  const std::map<std::string, std::string> first = {{"a", "sql"}, {"b", "domains"}},
                                           second = {{"a", "shakespeare"}, {"c", "sql"}};
  {
    RowsDaemon daemon({"--state-dir", state});
    Apply(daemon, first, /*validate_only=*/false);
    using Action = v1::ApplyAdaptersResponse::Change;
    const auto plan = Apply(daemon, second, /*validate_only=*/true);
    ASSERT_EQ(plan.changes_size(), 3);
    EXPECT_EQ(plan.changes(0).action(), Action::REPLACE);
    EXPECT_EQ(plan.changes(1).action(), Action::UNLOAD);
    EXPECT_EQ(plan.changes(2).action(), Action::CREATE);
    EXPECT_EQ(Paths(daemon), first) << "it has only been said";
    Apply(daemon, second, /*validate_only=*/false);
    EXPECT_EQ(Paths(daemon), second);
    daemon.process().Signal(SIGKILL);
  }
  RowsDaemon again({"--state-dir", state});
  EXPECT_EQ(Paths(again), second);
  EXPECT_EQ(Ids(again.AskOne(RowRequest(kTokens, "a"))),
            Ids(other.AskOne(RowRequest(kTokens, "shakespeare"))));
  std::filesystem::remove_all(state);
}

}  // namespace

std::vector<ReadmeRow> AdapterRows() {
  return {{"mixing", "several adapters with weights", Weights},
          {"mixing", "the k strongest heads", StrongestHeads},
          {"life cycle", "replace and unload while requests run", ReplaceAndUnloadWhileRequestsRun},
          {"life cycle", "pin and unpin", PinAndUnpin},
          {"life cycle", "declarative apply, and a journal that survives kill -9", ApplyAndJournal}};
}

}  // namespace hydrad
