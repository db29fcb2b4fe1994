#include "client/hydrad_client.h"

#include <gtest/gtest.h>

#include <thread>

#include "client/error_text.h"
#include "client/gather.h"
#include "server/base/mutex.h"
#include "tests/fakes/fake_server.h"

namespace hydrad {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const CallOptions kOptions{.timeout = seconds(60)};

v1::GenerateRequest Request(const std::string& text, const std::string& adapter = "") {
  v1::GenerateRequest request;
  request.set_text(text);
  request.set_adapter(adapter);
  return request;
}

// Something that is awaited once. Shared with the callback, which may still be in Set when Await has
// returned.
class Event {
 public:
  void Set(absl::Status status) {
    MutexLock lock(&mu_);
    status_ = std::move(status);
    set_ = true;
  }
  absl::Status Await() {
    MutexLock lock(&mu_);
    mu_.Await([this] { return set_; });
    return status_;
  }

 private:
  Mutex mu_;
  bool set_ = false;
  absl::Status status_;
};

TEST(Client, GenerateStreamsInOrder) {
  FakeServer server;
  const Client client(server.address());
  v1::GenerateResult result;
  int messages = 0;
  const absl::Status status =
      client.Generate(Request("one two three", "a"), kOptions, [&](const auto& message) {
        Gather(message, result);
        ++messages;
        return true;
      });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(messages, 5);
  EXPECT_EQ(result.start().adapter(), "a");
  EXPECT_EQ(result.choices(0).text(), "one two three");
  EXPECT_EQ(result.usage().generated_tokens(), 3);
}

TEST(Client, KeyTravelsAsBearer) {
  FakeServer server;
  const Client client(server.address());
  ASSERT_TRUE(client.GenerateUnary(Request("a"), {.timeout = seconds(60), .key = "k1"}).ok());
  EXPECT_EQ(server.last_authorization(), "Bearer k1");
  ASSERT_TRUE(client.GenerateUnary(Request("a"), kOptions).ok());
  EXPECT_EQ(server.last_authorization(), "");
}

TEST(Client, TheAdapterIsNamedInAHeaderForAnEdge) {
  FakeServer server;
  const Client client(server.address());
  v1::GenerateRequest request = Request("a");
  const auto header = [&] {
    EXPECT_TRUE(client.GenerateUnary(request, kOptions).ok());
    const std::string unary = server.last_adapter_header();
    EXPECT_TRUE(client.Generate(request, kOptions, [](const auto&) { return true; }).ok());
    EXPECT_EQ(server.last_adapter_header(), unary) << "as a stream";
    return unary;
  };
  EXPECT_EQ(header(), "");
  request.set_adapter("sql");
  EXPECT_EQ(header(), "sql");
  request.set_adapter("no\nheader");
  EXPECT_EQ(header(), "");
  request.set_adapter("");
  request.add_adapters()->set_name("first");
  request.add_adapters()->set_name("second");
  EXPECT_EQ(header(), "first");
}

TEST(Client, ErrorsCarryTheirDetails) {
  FakeServer server;
  const Client client(server.address());
  const absl::Status status =
      client.Generate(Request("a", "missing"), kOptions, [](const auto&) { return true; });
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(DetailsOf(status).reason, "ADAPTER_NOT_FOUND");
  server.FailWith(RichStatus(8, "queue is full", "QUEUE_FULL", "", 2));
  EXPECT_EQ(DetailsOf(client.Tokenize({}, kOptions).status()).retry_after, 2);
  EXPECT_EQ(client.ListModels(kOptions).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(AdminClient(server.address()).GetServerStatus(kOptions).status().message(), "queue is full");
}

TEST(Client, ReaderThatHasEnoughCancels) {
  FakeServer server;
  const Client client(server.address());
  int messages = 0;
  const absl::Status status = client.Generate(Request("a", "stuck"), kOptions, [&](const auto&) {
    ++messages;
    return false;
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(messages, 1);
  server.AwaitCancel();
}

TEST(Client, DeadlineEndsAStuckCall) {
  FakeServer server;
  const Client client(server.address());
  // A deadline may pass before the server has heard of the call.
  for (auto timeout = milliseconds(50); server.generate_calls() == 0; timeout *= 2) {
    const auto status =
        client.Generate(Request("a", "stuck"), {.timeout = timeout}, [](const auto&) { return true; });
    EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  }
  server.AwaitCancel();
}

TEST(Client, NobodyThereIsUnavailable) {
  std::string address;
  {
    FakeServer server;
    address = server.address();
  }
  EXPECT_EQ(Client(address).ListModels(kOptions).status().code(), absl::StatusCode::kUnavailable);
}

TEST(Client, CallbacksSeeTheWholeStreamThenDone) {
  FakeServer server;
  const Client client(server.address());
  v1::GenerateResult result;
  const auto done = std::make_shared<Event>();
  client.StartGenerate(Request("one two"), kOptions,
                       {.on_message = [&](const auto& message) { Gather(message, result); },
                        .on_done = [done](absl::Status status) { done->Set(std::move(status)); }});
  EXPECT_TRUE(done->Await().ok());
  EXPECT_EQ(result.choices(0).text(), "one two");
}

TEST(Client, StartedCallCanBeCancelled) {
  FakeServer server;
  const Client client(server.address());
  const auto started = std::make_shared<Event>(), done = std::make_shared<Event>();
  GenerateCall call =
      client.StartGenerate(Request("a", "stuck"), kOptions,
                           {.on_message = [started](const auto&) { started->Set(absl::OkStatus()); },
                            .on_done = [done](absl::Status status) { done->Set(std::move(status)); }});
  ASSERT_TRUE(started->Await().ok());
  call.Cancel();
  EXPECT_EQ(done->Await().code(), absl::StatusCode::kCancelled);
  server.AwaitCancel();
  call.Cancel();  // harmless after the end
}

TEST(Client, StartedCallEndsWithItsClient) {
  FakeServer server;
  auto client = std::make_unique<Client>(server.address());
  absl::Status end;
  GenerateCall call = client->StartGenerate(
      Request("a", "stuck"), kOptions,
      {.on_message = nullptr, .on_done = [&end](absl::Status status) { end = status; }});
  client.reset();
  EXPECT_EQ(end.code(), absl::StatusCode::kCancelled);
  call.Cancel();  // harmless after the end
}

// gRPC's thread used to let go of the channel last when client and server went while a callback was
// returning: gRPC then freed its completion queue twice.
TEST(Client, WaitsForTheCallbackThatIsReturning) {
  bool returned = false;
  {
    FakeServer server;
    const Client client(server.address());
    const auto done = std::make_shared<Event>();
    client.StartGenerate(Request("one"), kOptions,
                         {.on_message = nullptr, .on_done = [&returned, done](absl::Status) {
                            done->Set(absl::OkStatus());
                            std::this_thread::sleep_for(milliseconds(50));
                            returned = true;
                          }});
    done->Await().IgnoreError();
  }
  EXPECT_TRUE(returned);
}

TEST(Client, ManyStreamsAtOnceNeedNoThreads) {
  FakeServer server;
  const Client client(server.address());
  constexpr int kStreams = 500;
  struct Tally {
    Mutex mu;
    int ok = 0, ended = 0;
  };
  const auto tally = std::make_shared<Tally>();
  const auto on_done = [tally](const absl::Status& status) {
    MutexLock lock(&tally->mu);
    tally->ok += status.ok();
    ++tally->ended;
  };
  for (int i = 0; i < kStreams; ++i) {
    client.StartGenerate(Request("one two"), kOptions, {.on_message = nullptr, .on_done = on_done});
  }
  MutexLock lock(&tally->mu);
  tally->mu.Await([&] { return tally->ended == kStreams; });
  EXPECT_EQ(tally->ok, kStreams);
}

TEST(Client, TokenizeAndBack) {
  FakeServer server;
  const Client client(server.address());
  v1::TokenizeRequest text;
  text.set_text("hi");
  const auto tokens = client.Tokenize(text, kOptions);
  ASSERT_TRUE(tokens.ok());
  v1::DetokenizeRequest ids;
  *ids.mutable_token_ids() = tokens->token_ids();
  EXPECT_EQ(client.Detokenize(ids, kOptions)->text(), "hi");
}

TEST(Client, HealthIsWhatTheServerSays) {
  using grpc::health::v1::HealthCheckResponse;
  FakeServer server;
  const Connection connection(server.address());
  EXPECT_EQ(connection.Check("", kOptions).value(), Health::kServing);
  server.SetHealth(HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(connection.Check("", kOptions).value(), Health::kNotServing);
  server.SetHealth(HealthCheckResponse::UNKNOWN);
  EXPECT_EQ(connection.Check("", kOptions).value(), Health::kUnknown);
  EXPECT_EQ(connection.Check("unknown", kOptions).status().code(), absl::StatusCode::kNotFound);
}

TEST(AdminClient, AdapterLife) {
  FakeServer server;
  const AdminClient admin(server.address());
  v1::LoadAdapterRequest load;
  for (const char* name : {"c", "a", "b", "e", "d"}) {
    load.set_name(name);
    load.set_path(std::string(name) + "/v1");
    ASSERT_TRUE(admin.LoadAdapter(load, kOptions).ok());
  }
  EXPECT_EQ(admin.GetAdapter("a", kOptions)->path(), "a/v1");
  v1::UnloadAdapterRequest unload;
  unload.set_name("c");
  EXPECT_EQ(admin.UnloadAdapter(unload, kOptions)->state(), v1::Adapter::UNLOADED);
  EXPECT_EQ(admin.GetAdapter("c", kOptions).status().code(), absl::StatusCode::kNotFound);
  const auto all = admin.ListAdapters(kOptions);  // two pages
  ASSERT_TRUE(all.ok());
  std::string names;
  for (const auto& adapter : *all) names += adapter.name();
  EXPECT_EQ(names, "abde");
}

TEST(AdminClient, WatchEndsWithTheStreamOrTheReader) {
  FakeServer server;
  const AdminClient admin(server.address());
  std::vector<v1::AdapterEvent> events(3);
  events[1].mutable_adapter()->set_name("x");
  server.SetWatchEvents(events);
  std::vector<std::string> names;
  const auto see = [&](const v1::AdapterEvent& event) {
    names.push_back(event.adapter().name());
    return names.size() < 5;
  };
  EXPECT_TRUE(admin.WatchAdapters(kOptions, see).ok());
  EXPECT_EQ(names, (std::vector<std::string>{"", "x", ""}));
  EXPECT_EQ(admin.WatchAdapters(kOptions, see).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(names.size(), 5);
}

}  // namespace
}  // namespace hydrad
