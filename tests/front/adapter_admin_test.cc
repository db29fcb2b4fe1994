#include "server/front/adapter_admin.h"

#include <gmock/gmock.h>
#include <prometheus/collectable.h>
#include <prometheus/text_serializer.h>

#include <optional>

#include "server/front/error_details.h"
#include "tests/front/front_fixture.h"

namespace hydrad {
namespace {

using testing::HasSubstr;

class AdapterAdminTest : public FrontFixture {
 protected:
  static std::vector<TenantConfig> Admins() { return {Tenant("admin", "key-admin")}; }
  static Caller As(const std::string& key) { return {.key = key, .peer = "test:", .deadline = std::nullopt}; }
  static LoadCall LoadOf(const std::string& name, const std::string& path) {
    LoadCall call;
    call.name = name;
    call.path = path;
    return call;
  }
  // The method's answer, when it comes.
  template <class Call>
  absl::StatusOr<AdapterInfo> Do(void (AdapterAdmin::*method)(const Call&, const std::string&,
                                                              const AdapterAdmin::Done&),
                                 const Call& call) {
    std::promise<absl::StatusOr<AdapterInfo>> done;
    (admin_.*method)(call, "test:", [&](const auto& info) { done.set_value(info); });
    return done.get_future().get();
  }

  Admission admins_{Admins(), clock_};
  AdapterAdmin admin_{*intake_, admins_};
};

TEST_F(AdapterAdminTest, OnlyAdministratorsMayEnter) {
  EXPECT_TRUE(admin_.Enter(As("key-admin")).ok());
  const absl::Status refused = admin_.Enter(As("key-acme"));
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(ReasonOf(refused), "INVALID_KEY");
  ASSERT_EQ(AuditLines().size(), 1u);
  EXPECT_EQ(AuditLines()[0]["action"], "refused");
  EXPECT_EQ(AuditLines()[0]["actor"], "admin");
  EXPECT_EQ(AuditLines()[0]["peer"], "test:");
  EXPECT_THAT(prometheus::TextSerializer().Serialize(metrics_.collectable()->Collect()),
              HasSubstr("hydrad_rejected_total{reason=\"auth\"} 1\n"));
}

TEST_F(AdapterAdminTest, AChangeIsAuditedWhenItEnds) {
  const auto info = Do(&AdapterAdmin::Load, LoadOf("a", "one"));
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->name, "a");
  EXPECT_TRUE(Do(&AdapterAdmin::Pin, PinCall{.name = "a", .request_id = "", .pinned = true})->pinned);
  EXPECT_FALSE(Do(&AdapterAdmin::Pin, PinCall{.name = "a", .request_id = "", .pinned = false})->pinned);
  EXPECT_EQ(ReasonOf(Do(&AdapterAdmin::Unload, UnloadCall{.name = "b"}).status()), "ADAPTER_NOT_FOUND");
  std::vector<std::string> actions;
  for (const auto& line : AuditLines()) actions.push_back(line["action"]);
  EXPECT_THAT(actions,
              testing::ElementsAre("adapter.load", "adapter.pin", "adapter.unpin", "adapter.unload"));
  EXPECT_EQ(AuditLines()[3]["reason"], "ADAPTER_NOT_FOUND");
}

TEST_F(AdapterAdminTest, WhatIsInvalidIsNotBegun) {
  const absl::Status status = Do(&AdapterAdmin::Load, LoadOf("a", "../one")).status();
  EXPECT_EQ(ReasonOf(status), "INVALID_FIELD");
  EXPECT_EQ(DetailsOf(status).violations[0].field, "path");
  EXPECT_TRUE(AuditLines().empty());
}

TEST_F(AdapterAdminTest, NothingIsLoadedWhileTheServerDrains) {
  ASSERT_TRUE(Load("a", "one").ok());
  intake_->Close();
  const absl::Status status = Do(&AdapterAdmin::Load, LoadOf("b", "two")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(status), "DRAINING");
  std::optional<absl::Status> applied;
  admin_.Apply({}, "test:", [&](const auto& changes) { applied = changes.status(); });
  ASSERT_TRUE(applied);
  EXPECT_EQ(ReasonOf(*applied), "DRAINING");
  EXPECT_TRUE(Do(&AdapterAdmin::Unload, UnloadCall{.name = "a"}).ok()) << "room may still be made";
}

TEST_F(AdapterAdminTest, GetsAndLists) {
  ASSERT_TRUE(Load("a", "one").ok());
  ASSERT_TRUE(Load("b", "two").ok());
  EXPECT_EQ(admin_.Get({.name = "b"})->path, "two");
  const absl::Status unknown = admin_.Get({.name = "c"}).status();
  EXPECT_EQ(ReasonOf(unknown), "ADAPTER_NOT_FOUND");
  EXPECT_EQ(DetailsOf(unknown).metadata.at("adapter"), "c");
  EXPECT_EQ(admin_.List({.page_size = 1, .page_token = ""})->next, "a");
  EXPECT_EQ(ReasonOf(admin_.List({.page_size = -1, .page_token = ""}).status()), "INVALID_FIELD");
}

}  // namespace
}  // namespace hydrad
