// The rooms behind a front end, for tests: a scheduler that the test plays, a device and a disk in memory,
// and the tokenizer of the tiny model.
#ifndef HYDRAD_TESTS_FRONT_FRONT_FIXTURE_H_
#define HYDRAD_TESTS_FRONT_FRONT_FIXTURE_H_

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "server/front/intake.h"
#include "tests/fakes/adapter_files.h"
#include "tests/fakes/fake_backend.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_disk.h"
#include "tests/fakes/tenant.h"
#include "tests/front/fake_scheduler.h"

namespace hydrad {

inline constexpr char kTinyModelDir[] = "deploy/models/tiny";  // tests run in the root of the tree

// Adapters "one" and "two" on the disk, none loaded; "acme" may use "one" and the base, with the key
// "key-acme" and one request at a time, "globex" all with "key-globex";
// "slow" may ask once a second with "key-slow".
class FrontFixture : public testing::Test {
 protected:
  explicit FrontFixture(bool open = false)
      : admission_(open ? std::vector<TenantConfig>() : Tenants(), clock_), calls_(scheduler_.calls()) {
    disk_.Put("one", PlainLora(1).Bytes());
    disk_.Put("two", PlainLora(2).Bytes());
    unlink(audit_path_.c_str());
    audit_ = *AuditLog::Open(audit_path_, clock_);
    tokenizer_ = *Tokenizer::Load(std::string(kTinyModelDir) + "/tokenizer.json");
    store_ = std::make_unique<AdapterStore>(AdapterStoreOptions{}, std::make_unique<FakeDisk>(disk_),
                                            backend_, TinyModel(), clock_);
    intake_ = std::make_unique<Intake>(
        Rooms{.scheduler = calls_,
              .adapters = *store_,
              .admission = admission_,
              .tokenizer = *tokenizer_,
              .metrics = metrics_,
              .audit = *audit_,
              .delivery = delivery_,
              .clock = clock_,
              .limits = {.vocab_size = tokenizer_->vocab_size(), .max_context = 64, .max_prompt_bytes = 4096},
              .chat = std::make_shared<const ChatFormat>(ReadChatFiles(kTinyModelDir))});
  }

  static std::vector<TenantConfig> Tenants() {
    TenantConfig acme = Tenant("acme", "key-acme");
    acme.adapters = {"one"};
    acme.max_concurrent = 1;
    TenantConfig slow = Tenant("slow", "key-slow");
    slow.requests_per_second = 1;
    return {acme, Tenant("globex", "key-globex"), slow};
  }

  absl::StatusOr<AdapterInfo> Load(const std::string& name, const std::string& path) {
    std::promise<absl::StatusOr<AdapterInfo>> done;
    store_->Load(name, path, [&](const absl::StatusOr<AdapterInfo>& info) { done.set_value(info); });
    return done.get_future().get();
  }
  std::vector<nlohmann::json> AuditLines() const {
    audit_->Flush();
    std::ifstream in(audit_path_);
    std::vector<nlohmann::json> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }

  const std::string audit_path_ = testing::TempDir() + "/hydrad_front_" + std::to_string(getpid()) + ".jsonl";
  FakeClock clock_;
  FakeDisk disk_;
  FakeBackend backend_;
  Metrics metrics_;
  Admission admission_;
  std::unique_ptr<AuditLog> audit_;
  std::unique_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<AdapterStore> store_;
  Delivery delivery_{UnreadBounds()};
  FakeScheduler scheduler_{delivery_};  // after the store: its requests hold adapters
  SchedulerCalls calls_;
  std::unique_ptr<Intake> intake_;
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FRONT_FRONT_FIXTURE_H_
