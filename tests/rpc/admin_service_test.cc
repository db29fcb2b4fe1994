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

TEST_F(AdminServiceTest, EtagsAndRequestIds) {
  v1::Adapter adapter, again;
  ASSERT_TRUE(LoadAdapter("sql", "one", &adapter).ok());
  v1::LoadAdapterRequest load;
  load.set_name("sql");
  load.set_path("two");
  load.set_etag(adapter.etag());
  Call other_files("key-admin"), first("key-admin"), repeated("key-admin"), changed("key-admin");
  EXPECT_EQ(admin_->LoadAdapter(&other_files, load, &again).error_code(), StatusCode::FAILED_PRECONDITION);
  load.clear_etag();
  load.set_request_id("deploy-1");
  ASSERT_TRUE(admin_->LoadAdapter(&first, load, &adapter).ok());
  ASSERT_TRUE(admin_->LoadAdapter(&repeated, load, &again).ok());
  EXPECT_EQ(again.generation(), adapter.generation());
  load.set_path("one");
  EXPECT_EQ(admin_->LoadAdapter(&changed, load, &again).error_code(), StatusCode::INVALID_ARGUMENT);

  v1::UnloadAdapterRequest unload;
  unload.set_name("sql");
  unload.set_etag("sha256:other");
  Call refused("key-admin"), unloaded("key-admin"), once_more("key-admin");
  EXPECT_EQ(admin_->UnloadAdapter(&refused, unload, &again).error_code(), StatusCode::ABORTED);
  unload.set_etag(adapter.etag());
  unload.set_request_id("deploy-2");
  EXPECT_TRUE(admin_->UnloadAdapter(&unloaded, unload, &again).ok());
  EXPECT_TRUE(admin_->UnloadAdapter(&once_more, unload, &again).ok());
  EXPECT_EQ(again.state(), v1::Adapter::UNLOADED);
}

TEST_F(AdminServiceTest, PinsAndUnpins) {
  ASSERT_TRUE(LoadAdapter("sql", "one").ok());
  v1::PinAdapterRequest pin;
  v1::UnpinAdapterRequest unpin;
  pin.set_name("sql");
  unpin.set_name("sql");
  v1::Adapter adapter;
  Call a("key-admin"), b("key-admin"), c("key-admin");
  ASSERT_TRUE(admin_->PinAdapter(&a, pin, &adapter).ok());
  EXPECT_TRUE(adapter.pinned());
  EXPECT_EQ(adapter.tier(), v1::Adapter::DEVICE);
  ASSERT_TRUE(admin_->UnpinAdapter(&b, unpin, &adapter).ok());
  EXPECT_FALSE(adapter.pinned());
  pin.set_name("nobody");
  EXPECT_EQ(WireReason(admin_->PinAdapter(&c, pin, &adapter)), "ADAPTER_NOT_FOUND");
}

TEST_F(AdminServiceTest, AppliesAWholeSetAndAuditsEachChange) {
  ASSERT_TRUE(LoadAdapter("old", "one").ok());
  v1::ApplyAdaptersRequest request;
  auto* wanted = request.add_adapters();
  wanted->set_name("new");
  wanted->set_path("two");
  v1::ApplyAdaptersResponse response;
  Call a("key-admin"), b("key-admin"), c("key-admin");
  ASSERT_TRUE(admin_->ApplyAdapters(&a, request, &response).ok());
  ASSERT_EQ(response.changes_size(), 2);
  EXPECT_EQ(response.changes(0).name(), "new");
  EXPECT_EQ(response.changes(0).action(), v1::ApplyAdaptersResponse::Change::CREATE);
  EXPECT_EQ(response.changes(1).action(), v1::ApplyAdaptersResponse::Change::UNLOAD);
  std::vector<std::string> actions;
  for (const auto& line : AuditLines()) actions.push_back(line["action"].get<std::string>());
  EXPECT_EQ(actions,
            (std::vector<std::string>{"adapter.load", "adapter.load", "adapter.unload", "adapter.apply"}));
  wanted->set_path("nowhere");
  EXPECT_EQ(admin_->ApplyAdapters(&b, request, &response).error_code(), StatusCode::INVALID_ARGUMENT);
  wanted->set_path("../up");
  EXPECT_EQ(WireReason(admin_->ApplyAdapters(&c, request, &response)), "INVALID_FIELD");
}

TEST_F(AdminServiceTest, ForceEndsTheHandlesOfRequests) {
  ASSERT_TRUE(LoadAdapter("one", "one").ok());
  Call call("key-acme");
  const auto reader = inference_->Generate(&call, Ask("x", "one"));
  Request request = scheduler_.Take();
  v1::UnloadAdapterRequest message;
  message.set_name("one");
  message.set_force(true);
  grpc::Status unloaded;
  std::thread client([&] {
    Call unload("key-admin");
    v1::Adapter adapter;
    unloaded = admin_->UnloadAdapter(&unload, message, &adapter);
  });
  while (request.adapter.status().ok()) std::this_thread::yield();
  request.sink->OnDone(request.adapter.status(), {});
  request = Request();
  client.join();
  EXPECT_TRUE(unloaded.ok()) << unloaded.error_message();
  EXPECT_EQ(FinishOf(*reader).error_code(), StatusCode::ABORTED);
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
  v1::UnloadAdapterRequest message;
  message.set_name("one");
  v1::Adapter adapter;
  // A deadline may pass before the daemon has heard of the call.
  for (auto patience = std::chrono::milliseconds(50); adapter.state() != v1::Adapter::UNLOADING;
       patience *= 2) {
    Call unload("key-admin");
    unload.set_deadline(std::chrono::system_clock::now() + patience);
    EXPECT_EQ(admin_->UnloadAdapter(&unload, message, &adapter).error_code(), StatusCode::DEADLINE_EXCEEDED);
    ASSERT_TRUE(GetAdapter("one", &adapter).ok());
  }
  request.sink->OnDone(absl::OkStatus(), {});
  request = Request();
  while (GetAdapter("one", &adapter).ok()) std::this_thread::yield();  // the memory goes back first
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
