#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "server/admission/admission.h"

namespace hydrad {
namespace {

const std::string kHash = Sha256Hex("key");

// A file with one tenant "a" whose further fields are `fields`.
std::string File(const std::string& fields) {
  return R"({"tenants": [{"name": "a", "key_sha256": [")" + kHash + "\"]" + (fields.empty() ? "" : ", ") +
         fields + "}]}";
}
std::string Error(const std::string& json) {
  const auto tenants = ParseTenants(json);
  if (tenants.ok()) return "no error";
  EXPECT_EQ(tenants.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(tenants.status().message());
}

TEST(ParseTenants, ReadsEveryField) {
  const auto tenants =
      ParseTenants(File(R"("adapters": ["medical", "legal-*", "*"], "base_model": false, "max_concurrent": 7,
              "requests_per_second": 0.5, "burst": 3, "weight": 2.5, "prefix_group": "friends")"));
  ASSERT_TRUE(tenants.ok()) << tenants.status();
  ASSERT_EQ(tenants->size(), 1);
  const TenantConfig& tenant = tenants->front();
  EXPECT_EQ(tenant.name, "a");
  EXPECT_EQ(tenant.key_sha256, std::vector{kHash});
  EXPECT_EQ(tenant.adapters, (std::vector<std::string>{"medical", "legal-*", "*"}));
  EXPECT_FALSE(tenant.base_model);
  EXPECT_EQ(tenant.max_concurrent, 7);
  EXPECT_EQ(tenant.requests_per_second, 0.5);
  EXPECT_EQ(tenant.burst, 3);
  EXPECT_EQ(tenant.weight, 2.5);
  EXPECT_EQ(tenant.prefix_group, "friends");
}

TEST(ParseTenants, DefaultsAreOneTenantWithoutAdaptersOrLimits) {
  const auto tenants = ParseTenants(File(""));
  ASSERT_TRUE(tenants.ok()) << tenants.status();
  const TenantConfig& tenant = tenants->front();
  EXPECT_TRUE(tenant.adapters.empty());
  EXPECT_TRUE(tenant.base_model);
  EXPECT_EQ(tenant.max_concurrent, 0);
  EXPECT_EQ(tenant.requests_per_second, 0);
}

TEST(ParseTenants, ErrorsNameTheTenantAndTheField) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"("color": "red")", "tenant 'a': field 'color': is not known"},
      {R"("adapters": "medical")", "tenant 'a': field 'adapters': must be a list of strings"},
      {R"("adapters": ["ok", "a*b"])",
       "tenant 'a': field 'adapters': item 1 is not an adapter name, with '*' only at its end"},
      {R"("adapters": ["../x"])", "tenant 'a': field 'adapters': item 0 is not an adapter name"},
      {R"("base_model": 1)", "tenant 'a': field 'base_model': must be true or false"},
      {R"("max_concurrent": -1)",
       "tenant 'a': field 'max_concurrent': must be 0 or an integer from 1 to 1e+06"},
      {R"("max_concurrent": 1.5)", "tenant 'a': field 'max_concurrent'"},
      {R"("requests_per_second": "5")", "tenant 'a': field 'requests_per_second': must be 0 or a number"},
      {R"("requests_per_second": 1e-9)", "tenant 'a': field 'requests_per_second'"},
      {R"("burst": 0)", "tenant 'a': field 'burst': must be an integer from 1 to 1e+06"},
      {R"("burst": 99999999999999999999)", "tenant 'a': field 'burst'"},
      {R"("weight": 0)", "tenant 'a': field 'weight': must be a number from 0.001 to 1000"},
      {R"("weight": null)", "tenant 'a': field 'weight'"},
      {R"("prefix_group": 3)", "tenant 'a': field 'prefix_group': must be 1 to 128 of"},
      {R"("prefix_group": "")", "tenant 'a': field 'prefix_group': must be 1 to 128 of"},
      {R"("burst": 1, "burst": 2)", "has the key 'burst' twice"},
  };
  for (const auto& [fields, error] : cases) EXPECT_EQ(Error(File(fields)).substr(0, error.size()), error);
}

TEST(ParseTenants, ErrorsOfTheFileAsAWhole) {
  const std::string shape = "must be an object whose one key 'tenants' holds a list of at least one tenant";
  EXPECT_EQ(Error("[]"), shape);
  EXPECT_EQ(Error("{}"), shape);
  EXPECT_EQ(Error(R"({"tenants": []})"), shape) << "an empty list would open the server";
  EXPECT_EQ(Error(R"({"tenants": [], "more": 1})"), shape);
  EXPECT_EQ(Error(R"({"tenants": [)"), "is not JSON at byte 14");
  EXPECT_EQ(Error(R"({"tenants": [1]})"), "tenant 0: must be an object");
  const std::string name =
      "tenant 0: field 'name': must be 1 to 128 of a-z A-Z 0-9 . _ -, not starting with '.'";
  EXPECT_EQ(Error(R"({"tenants": [{}]})"), name);
  EXPECT_EQ(Error(R"({"tenants": [{"name": ".a"}]})"), name);
  EXPECT_EQ(Error(R"({"tenants": [{"name": "a b"}]})"), name);
  EXPECT_EQ(Error(R"({"tenants": [{"name": "a"}]})"),
            "tenant 'a': field 'key_sha256': at least one hash is needed");
  EXPECT_EQ(Error(R"({"tenants": [{"name": "a", "key_sha256": ["ABC"]}]})"),
            "tenant 'a': field 'key_sha256': item 0 is not a SHA-256 in 64 lower-case hex digits");
}

TEST(ParseTenants, NamesAndHashesStandForOneTenant) {
  const std::string a = R"({"name": "a", "key_sha256": [")" + kHash + R"("]})";
  const std::string b = R"({"name": "b", "key_sha256": [")" + kHash + R"("]})";
  EXPECT_EQ(Error(R"({"tenants": [)" + a + "," + a + "]}"), "tenant 'a': field 'name': stands twice");
  EXPECT_EQ(Error(R"({"tenants": [)" + a + "," + b + "]}"),
            "tenant 'b': field 'key_sha256': " + kHash.substr(0, 8) + "... stands twice");
}

TEST(LoadTenants, NamesTheFile) {
  const std::string path = ::testing::TempDir() + "/tenants_test.json";
  EXPECT_EQ(LoadTenants(path + ".none").status().code(), absl::StatusCode::kNotFound);
  std::ofstream(path) << File("\"burst\": 0");
  EXPECT_EQ(LoadTenants(path).status().message(),
            path + ": tenant 'a': field 'burst': must be an integer from 1 to 1e+06");
  std::ofstream(path) << File("");
  EXPECT_TRUE(LoadTenants(path).ok());
  std::remove(path.c_str());
}

}  // namespace
}  // namespace hydrad
