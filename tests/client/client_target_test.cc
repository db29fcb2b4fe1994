#include "client/bench/client_target.h"

#include <gtest/gtest.h>

#include "server/base/mutex.h"
#include "tests/fakes/fake_server.h"

namespace hydrad {
namespace {

// What one request brought. Shared with its callbacks.
struct Seen {
  Mutex mu;
  bool done = false;
  absl::StatusCode code = absl::StatusCode::kUnknown;
  std::vector<std::pair<int, int>> tokens;  // choice, number
  int prompt_tokens = 0, generated_tokens = 0;
};

std::shared_ptr<Seen> SendOne(ClientTarget& target, const BenchRequest& request) {
  const auto seen = std::make_shared<Seen>();
  BenchTarget::Events events;
  events.on_tokens = [seen](int choice, int tokens) { seen->tokens.emplace_back(choice, tokens); };
  events.on_done = [seen](absl::StatusCode code, int prompt, int generated) {
    MutexLock lock(&seen->mu);
    seen->code = code;
    seen->prompt_tokens = prompt;
    seen->generated_tokens = generated;
    seen->done = true;
  };
  target.Start(request, std::move(events));
  MutexLock lock(&seen->mu);
  seen->mu.Await([&] { return seen->done; });
  return seen;
}

TEST(ClientTarget, SendsTheRequestAndCountsItsTokens) {
  FakeServer server;
  ClientTarget::Options options;
  options.temperature = 0.5f;
  options.ignore_eos = true;
  options.call.key = "k";
  ClientTarget target(server.address(), options);
  const auto seen = SendOne(target, {.prompt = "one two three", .adapter = "a", .max_tokens = 2, .seed = 9});
  EXPECT_EQ(seen->code, absl::StatusCode::kOk);
  EXPECT_EQ(seen->tokens, (std::vector<std::pair<int, int>>{{0, 1}, {0, 1}}));
  EXPECT_EQ(seen->prompt_tokens, 3);
  EXPECT_EQ(seen->generated_tokens, 2);
  const v1::GenerateRequest sent = server.last_generate();
  EXPECT_EQ(sent.adapter(), "a");
  EXPECT_EQ(sent.sampling().seed(), 9);
  EXPECT_FLOAT_EQ(sent.sampling().temperature(), 0.5f);
  EXPECT_EQ(sent.stopping().max_tokens(), 2);
  EXPECT_TRUE(sent.stopping().ignore_eos());
  EXPECT_EQ(server.last_authorization(), "Bearer k");
}

TEST(ClientTarget, FailureIsDoneWithoutTokens) {
  FakeServer server;
  ClientTarget target(server.address(), {});
  const auto seen = SendOne(target, {.prompt = "one", .adapter = "missing"});
  EXPECT_EQ(seen->code, absl::StatusCode::kNotFound);
  EXPECT_TRUE(seen->tokens.empty());
  EXPECT_FALSE(server.last_generate().stopping().has_max_tokens());
}

TEST(ClientTarget, ConnectionsTakeTurns) {
  FakeServer server;
  ClientTarget::Options options;
  options.connections = 3;
  ClientTarget target(server.address(), options);
  for (int i = 0; i < 7; ++i) EXPECT_EQ(SendOne(target, {.prompt = "one"})->code, absl::StatusCode::kOk);
  EXPECT_EQ(server.peers(), 3);
}

}  // namespace
}  // namespace hydrad
