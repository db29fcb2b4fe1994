#include "server/rpc/admin_service.h"

#include <gmock/gmock.h>

#include <thread>

#include "tests/rpc/served_fixture.h"

namespace hydrad {
namespace {

using grpc::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class AdminServiceTest : public ServedFixture {
 protected:
  grpc::Status LoadAdapter(const std::string& name, const std::string& path, v1::Adapter* out = nullptr,
                           bool validate_only = false) {
    Call call("key-admin");
    v1::LoadAdapterRequest request;
    request.set_name(name);
    request.set_path(path);
    request.set_validate_only(validate_only);
    v1::Adapter unused;
    return admin_->LoadAdapter(&call, request, out != nullptr ? out : &unused);
  }
  grpc::Status UnloadAdapter(const std::string& name, v1::Adapter* out = nullptr) {
    Call call("key-admin");
    v1::UnloadAdapterRequest request;
    request.set_name(name);
    v1::Adapter unused;
    return admin_->UnloadAdapter(&call, request, out != nullptr ? out : &unused);
  }
  grpc::Status GetAdapter(const std::string& name, v1::Adapter* out) {
    Call call("key-admin");
    v1::GetAdapterRequest request;
    request.set_name(name);
    return admin_->GetAdapter(&call, request, out);
  }
};

TEST_F(AdminServiceTest, LoadsReplacesAndUnloads) {
  v1::Adapter adapter;
  ASSERT_TRUE(LoadAdapter("sql", "one", &adapter).ok());
  EXPECT_EQ(adapter.state(), v1::Adapter::AVAILABLE);
  EXPECT_EQ(adapter.path(), "one");
  EXPECT_GT(adapter.device_bytes(), 0u);
  const uint64_t first = adapter.generation();
  ASSERT_TRUE(LoadAdapter("sql", "two", &adapter).ok());
  EXPECT_GT(adapter.generation(), first);
  ASSERT_TRUE(GetAdapter("sql", &adapter).ok());
  EXPECT_EQ(adapter.path(), "two");
  ASSERT_TRUE(UnloadAdapter("sql", &adapter).ok());
  EXPECT_EQ(adapter.state(), v1::Adapter::UNLOADED);
  EXPECT_EQ(GetAdapter("sql", &adapter).error_code(), StatusCode::NOT_FOUND);
}

TEST_F(AdminServiceTest, ErrorsSayWhatAndWhy) {
  const grpc::Status missing = LoadAdapter("sql", "nowhere");
  EXPECT_EQ(missing.error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(WireReason(missing), "ADAPTER_NOT_FOUND");
  disk_.Put("broken", {{"adapter_config.json", "{}"}});
  const grpc::Status broken = LoadAdapter("sql", "broken");
  EXPECT_EQ(broken.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(WireReason(broken), "ADAPTER_INVALID");
  EXPECT_EQ(WireReason(LoadAdapter("sql", "../up")), "INVALID_FIELD");
  EXPECT_EQ(WireReason(UnloadAdapter("nobody")), "ADAPTER_NOT_FOUND");
}

TEST_F(AdminServiceTest, ValidateOnlyChangesNothing) {
  EXPECT_TRUE(LoadAdapter("sql", "one", nullptr, /*validate_only=*/true).ok());
  v1::Adapter adapter;
  EXPECT_EQ(GetAdapter("sql", &adapter).error_code(), StatusCode::NOT_FOUND);
  disk_.Put("broken", {{"adapter_config.json", "{}"}});
  EXPECT_EQ(LoadAdapter("sql", "broken", nullptr, true).error_code(), StatusCode::INVALID_ARGUMENT);
}

TEST_F(AdminServiceTest, TwoLoadsOfOneNameCollide) {
  backend_.CloseGate();
  grpc::Status first;
  std::thread client([&] { first = LoadAdapter("sql", "one"); });
  backend_.AwaitAtGate(1);
  const grpc::Status second = LoadAdapter("sql", "two");
  EXPECT_EQ(second.error_code(), StatusCode::ABORTED);
  EXPECT_EQ(WireReason(second), "ADAPTER_BUSY");
  EXPECT_TRUE(HasRetryInfo(second));
  backend_.OpenGate();
  client.join();
  EXPECT_TRUE(first.ok()) << first.error_message();
}

TEST_F(AdminServiceTest, UnloadAnswersWhenTheLastRequestHasEnded) {
  ASSERT_TRUE(LoadAdapter("one", "one").ok());
  Call call("key-acme");
  const auto reader = inference_->Generate(&call, Ask("x", "one"));
  Request request = scheduler_.Take();
  grpc::Status unloaded;
  std::thread client([&] { unloaded = UnloadAdapter("one"); });
  // Refused at once, while the running request goes on.
  v1::Adapter adapter;
  while (GetAdapter("one", &adapter).ok() && adapter.state() == v1::Adapter::AVAILABLE)
    std::this_thread::yield();
  EXPECT_EQ(adapter.state(), v1::Adapter::UNLOADING);
  EXPECT_EQ(adapter.requests(), 1);
  Call late("key-globex");
  EXPECT_EQ(FinishOf(*inference_->Generate(&late, Ask("x", "one"))).error_code(), StatusCode::UNAVAILABLE);
  request.sink->OnDone(absl::OkStatus(), {});
  request = Request();
  client.join();
  EXPECT_TRUE(unloaded.ok()) << unloaded.error_message();
  EXPECT_TRUE(FinishOf(*reader).ok());
}

TEST_F(AdminServiceTest, AClientThatDoesNotWaitDoesNotUndoTheUnload) {
  ASSERT_TRUE(LoadAdapter("one", "one").ok());
  Call call("key-acme");
  const auto reader = inference_->Generate(&call, Ask("x", "one"));
  Request request = scheduler_.Take();
  Call unload("key-admin");
  unload.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
  v1::UnloadAdapterRequest message;
  message.set_name("one");
  v1::Adapter adapter;
  EXPECT_EQ(admin_->UnloadAdapter(&unload, message, &adapter).error_code(), StatusCode::DEADLINE_EXCEEDED);
  request.sink->OnDone(absl::OkStatus(), {});
  request = Request();
  EXPECT_EQ(GetAdapter("one", &adapter).error_code(), StatusCode::NOT_FOUND);
  EXPECT_TRUE(FinishOf(*reader).ok());
}

TEST_F(AdminServiceTest, ListsByPages) {
  for (const char* name : {"c", "a", "b"}) ASSERT_TRUE(LoadAdapter(name, "one").ok());
  std::vector<std::string> names;
  v1::ListAdaptersRequest request;
  request.set_page_size(2);
  v1::ListAdaptersResponse page;
  do {
    Call call("key-admin");
    ASSERT_TRUE(admin_->ListAdapters(&call, request, &page).ok());
    for (const v1::Adapter& adapter : page.adapters()) names.push_back(adapter.name());
    request.set_page_token(page.next_page_token());
  } while (!page.next_page_token().empty());
  EXPECT_THAT(names, ElementsAre("a", "b", "c"));
}

TEST_F(AdminServiceTest, WatchTellsHowThingsStandThenEachChange) {
  ASSERT_TRUE(LoadAdapter("a", "one").ok());
  Call call("key-admin");
  const auto watch = admin_->WatchAdapters(&call, {});
  v1::AdapterEvent event;
  ASSERT_TRUE(watch->Read(&event));
  EXPECT_EQ(event.adapter().name(), "a");
  EXPECT_EQ(event.adapter().state(), v1::Adapter::AVAILABLE);
  ASSERT_TRUE(LoadAdapter("b", "two").ok());
  ASSERT_TRUE(UnloadAdapter("b").ok());
  std::vector<v1::Adapter::State> states;
  do {
    ASSERT_TRUE(watch->Read(&event));
    EXPECT_EQ(event.adapter().name(), "b");
    states.push_back(event.adapter().state());
  } while (states.back() != v1::Adapter::UNLOADED);
  EXPECT_THAT(states, ElementsAre(v1::Adapter::LOADING, v1::Adapter::AVAILABLE, v1::Adapter::UNLOADING,
                                  v1::Adapter::UNLOADED));
  call.TryCancel();
  EXPECT_EQ(FinishOf(*watch).error_code(), StatusCode::CANCELLED);
}

TEST_F(AdminServiceTest, AWatchEndsWithTheServer) {
  Call call("key-admin");
  const auto watch = admin_->WatchAdapters(&call, {});
  watch->WaitForInitialMetadata();
  std::thread stop([this] { StopServing(); });
  v1::AdapterEvent event;
  EXPECT_FALSE(watch->Read(&event));
  EXPECT_FALSE(FinishOf(*watch).ok());
  stop.join();
}

TEST_F(AdminServiceTest, EveryMethodWantsAnAdministratorsKey) {
  v1::Adapter adapter;
  v1::ListAdaptersResponse page;
  v1::ServerStatus server;
  v1::LoadAdapterRequest load;
  load.set_name("a");
  load.set_path("one");
  v1::GetAdapterRequest get;
  get.set_name("a");
  v1::UnloadAdapterRequest unload;
  unload.set_name("a");
  for (const char* key : {"", "key-acme"}) {
    Call a(key), b(key), c(key), d(key), e(key), f(key);
    for (const grpc::Status& status :
         {admin_->LoadAdapter(&a, load, &adapter), admin_->GetAdapter(&b, get, &adapter),
          admin_->ListAdapters(&c, {}, &page), admin_->UnloadAdapter(&d, unload, &adapter),
          FinishOf(*admin_->WatchAdapters(&e, {})), admin_->GetServerStatus(&f, {}, &server)}) {
      EXPECT_EQ(status.error_code(), StatusCode::UNAUTHENTICATED);
      EXPECT_EQ(WireReason(status), "INVALID_KEY");
    }
  }
  EXPECT_TRUE(store_->List().empty());
}

TEST_F(AdminServiceTest, TheStatusTellsWhatRuns) {
  ASSERT_TRUE(LoadAdapter("a", "one").ok());
  SchedulerStatus scheduler;
  scheduler.running = 3;
  scheduler.waiting = 2;
  scheduler.kv_blocks_total = 100;
  scheduler.kv_blocks_free = 40;
  scheduler_.SetStatus(scheduler);
  Call call("key-admin");
  v1::ServerStatus status;
  ASSERT_TRUE(admin_->GetServerStatus(&call, {}, &status).ok());
  EXPECT_EQ(status.version(), "1.2.3");
  EXPECT_EQ(status.base_model(), "tiny");
  EXPECT_EQ(status.device(), "fake");
  EXPECT_EQ(status.requests_running(), 3);
  EXPECT_EQ(status.requests_waiting(), 2);
  EXPECT_EQ(status.kv_blocks_total(), 100);
  EXPECT_EQ(status.kv_blocks_free(), 40);
  EXPECT_EQ(status.adapters(), 1);
  EXPECT_EQ(status.adapter_bytes_used(), store_->device_bytes_used());
  EXPECT_EQ(status.max_context(), 64);
  EXPECT_FALSE(status.draining());
  EXPECT_GT(status.started().seconds(), 0);
}

TEST_F(AdminServiceTest, ADrainingServerLoadsNothing) {
  intake_->Close();
  EXPECT_EQ(LoadAdapter("a", "one").error_code(), StatusCode::UNAVAILABLE);
  Call call("key-admin");
  v1::ServerStatus status;
  ASSERT_TRUE(admin_->GetServerStatus(&call, {}, &status).ok());
  EXPECT_TRUE(status.draining());
}

TEST_F(AdminServiceTest, EachActionAndRefusalIsAudited) {
  ASSERT_TRUE(LoadAdapter("a", "one").ok());
  LoadAdapter("b", "nowhere");
  ASSERT_TRUE(UnloadAdapter("a").ok());
  Call stranger("key-acme");
  v1::ServerStatus status;
  admin_->GetServerStatus(&stranger, {}, &status);
  const auto lines = AuditLines();
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0]["action"], "adapter.load");
  EXPECT_EQ(lines[0]["adapter"], "a");
  EXPECT_EQ(lines[0]["path"], "one");
  EXPECT_EQ(lines[0]["code"], "OK");
  EXPECT_THAT(lines[0]["peer"].get<std::string>(), HasSubstr("127.0.0.1"));
  EXPECT_EQ(lines[1]["code"], "NOT_FOUND");
  EXPECT_EQ(lines[2]["action"], "adapter.unload");
  EXPECT_EQ(lines[3]["action"], "refused");
  EXPECT_EQ(lines[3]["code"], "UNAUTHENTICATED");
}

}  // namespace
}  // namespace hydrad
