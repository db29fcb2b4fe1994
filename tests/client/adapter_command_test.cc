#include <cstdlib>
#include <fstream>

#include "tests/client/command_runner.h"

namespace hydrad {
namespace {

using AdapterCommand = CommandTest;

TEST_F(AdapterCommand, LoadsGetsAndUnloads) {
  ASSERT_EQ(Run({"adapter", "load", "pirate", "--path", "pirate-v2", "--json"}), 0) << err_;
  Json json = Parsed();
  EXPECT_EQ(json["name"], "pirate");
  EXPECT_EQ(json["state"], "AVAILABLE");
  EXPECT_EQ(json["generation"], 1);
  EXPECT_EQ(json["path"], "pirate-v2");
  EXPECT_EQ(json["targets"], Json({"q_proj"}));
  ASSERT_EQ(Run({"adapter", "get", "pirate", "--json"}), 0);
  EXPECT_EQ(Parsed(), json);
  ASSERT_EQ(Run({"adapter", "unload", "pirate", "--json"}), 0);
  EXPECT_EQ(Parsed()["state"], "UNLOADED");
  EXPECT_EQ(Run({"adapter", "get", "pirate"}), 1);
  EXPECT_NE(err_.find("NOT_FOUND"), std::string::npos);
  EXPECT_NE(err_.find("ADAPTER_NOT_FOUND"), std::string::npos);
}

TEST_F(AdapterCommand, ValidateOnlyLoadsNothing) {
  ASSERT_EQ(Run({"adapter", "load", "x", "--path", "x", "--validate-only", "--json"}), 0);
  EXPECT_EQ(Parsed()["generation"], 0);
  ASSERT_EQ(Run({"adapter", "list", "--json"}), 0);
  EXPECT_EQ(Parsed(), Json::array());
}

TEST_F(AdapterCommand, ListsAsAlignedTable) {
  for (const char* name : {"b", "longer-name", "a"})
    ASSERT_EQ(Run({"adapter", "load", name, "--path", "p"}), 0);
  ASSERT_EQ(Run({"adapter", "list"}), 0);
  EXPECT_EQ(out_,
            "NAME         STATE      TIER    GEN  FAMILY  RANK  EXPERTS  SIZE     REQUESTS  PATH  ERROR\n"
            "a            AVAILABLE  DEVICE  3    lora    8     1        4.0 KiB  0         p     -\n"
            "b            AVAILABLE  DEVICE  1    lora    8     1        4.0 KiB  0         p     -\n"
            "longer-name  AVAILABLE  DEVICE  2    lora    8     1        4.0 KiB  0         p     -\n");
  ASSERT_EQ(Run({"adapter", "list", "--json"}), 0);
  EXPECT_EQ(Parsed().size(), 3);
}

TEST_F(AdapterCommand, WatchPrintsALineForEachEvent) {
  std::vector<v1::AdapterEvent> events(2);
  events[0].mutable_adapter()->set_name("x");
  events[0].mutable_adapter()->set_state(v1::Adapter::LOADING);
  events[0].mutable_adapter()->set_tier(v1::Adapter::DISK);
  events[0].mutable_time()->set_seconds(86400);
  events[1] = events[0];
  events[1].mutable_adapter()->set_state(v1::Adapter::FAILED);
  events[1].mutable_adapter()->set_error("no config");
  server_.SetWatchEvents(events);
  ASSERT_EQ(Run({"adapter", "watch"}), 0);
  EXPECT_EQ(out_,
            "1970-01-02T00:00:00Z  x  LOADING  generation 0  DISK\n"
            "1970-01-02T00:00:00Z  x  FAILED  generation 0  DISK  no config\n");
  ASSERT_EQ(Run({"adapter", "watch", "--json"}), 0);
  const Json first = *ParseJson(out_.substr(0, out_.find('\n')));
  EXPECT_EQ(first["time"], "1970-01-02T00:00:00Z");
  EXPECT_EQ(first["adapter"]["state"], "LOADING");
}

TEST_F(AdapterCommand, PinsAndUnpins) {
  ASSERT_EQ(Run({"adapter", "load", "x", "--path", "p", "--etag", "sha256:0", "--request-id", "r"}), 0);
  ASSERT_EQ(Run({"adapter", "pin", "x", "--json"}), 0);
  EXPECT_EQ(Parsed()["pinned"], true);
  ASSERT_EQ(Run({"adapter", "list"}), 0);
  EXPECT_NE(out_.find("DEVICE (pinned)"), std::string::npos);
  ASSERT_EQ(Run({"adapter", "unpin", "x", "--json"}), 0);
  EXPECT_EQ(Parsed()["pinned"], false);
  ASSERT_EQ(Run({"adapter", "unload", "x", "--force", "--etag", "sha256:0", "--request-id", "s"}), 0);
}

TEST_F(AdapterCommand, AppliesAFile) {
  const std::string path = testing::TempDir() + "/hydractl_apply.json";
  const auto apply = [&](const std::string& text) {
    std::ofstream(path) << text;
    return Run({"adapter", "apply", path, "--json"});
  };
  ASSERT_EQ(
      apply(R"({"adapters": [{"name": "x", "path": "p"}, {"name": "y", "path": "q", "pinned": true}]})"), 0);
  EXPECT_EQ(Parsed(),
            *ParseJson(R"([{"name": "x", "action": "CREATE"}, {"name": "y", "action": "CREATE"}])"));
  ASSERT_EQ(Run({"adapter", "apply", path, "--validate-only", "--force", "--request-id", "r"}), 0);
  EXPECT_EQ(out_, "NAME  ACTION\nx     CREATE\ny     CREATE\n");
  for (const char* bad : {"", "[]", "{}", R"({"adapters": [3]})", R"({"adapters": [{"name": 3}]})",
                          R"({"adapters": [{"nmae": "x"}]})", R"({"adapters": [{"pinned": "yes"}]})"}) {
    EXPECT_EQ(apply(bad), 2) << bad;
    EXPECT_NE(err_.find("hydractl_apply.json"), std::string::npos);
  }
  EXPECT_EQ(Run({"adapter", "apply", "/no/such/file"}), 2);
}

TEST_F(AdapterCommand, AdministratorsKeyIsSent) {
  ASSERT_EQ(Run({"adapter", "list", "--admin-key", "boss"}), 0);
  EXPECT_EQ(server_.last_authorization(), "Bearer boss");
  setenv("HYDRAD_ADMIN_KEY", "chief", 1);
  EXPECT_EQ(Run({"status"}), 0);
  EXPECT_EQ(server_.last_authorization(), "Bearer chief");
  EXPECT_EQ(Run({"models"}), 0);  // not the admin listener: not its key
  EXPECT_EQ(server_.last_authorization(), "");
  unsetenv("HYDRAD_ADMIN_KEY");
}

TEST_F(AdapterCommand, WrongArgumentsAreUsageErrors) {
  EXPECT_EQ(Run({"adapter"}), 2);
  EXPECT_EQ(Run({"adapter", "load", "x"}), 2);
  EXPECT_EQ(Run({"adapter", "get"}), 2);
  EXPECT_EQ(Run({"adapter", "explode", "x"}), 2);
}

TEST_F(AdapterCommand, RefusalExitsWithOne) {
  server_.FailWith(RichStatus(10, "another load of 'x' is running", "ADAPTER_BUSY"));
  for (const char* action : {"get", "unload"}) EXPECT_EQ(Run({"adapter", action, "x"}), 1);
  for (const char* action : {"list", "watch"}) EXPECT_EQ(Run({"adapter", action}), 1);
  EXPECT_EQ(Run({"adapter", "load", "x", "--path", "x"}), 1);
  EXPECT_NE(err_.find("ABORTED"), std::string::npos);
}

}  // namespace
}  // namespace hydrad
