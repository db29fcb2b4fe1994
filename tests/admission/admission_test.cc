#include "server/admission/admission.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

#include "tests/fakes/fake_clock.h"
#include "tests/fakes/tenant.h"

namespace hydrad {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class AdmissionTest : public ::testing::Test {
 protected:
  absl::StatusOr<Ticket> Admit(Admission& admission, std::string_view tenant) {
    retry_after_ = Duration(-1);
    return admission.Admit(tenant, &retry_after_);
  }

  absl::StatusOr<std::string> Authenticate(const Admission& admission, std::string_view key,
                                           std::string_view peer = "ipv4:192.0.2.1:4711") {
    retry_after_ = Duration{};
    return admission.Authenticate(key, peer, &retry_after_);
  }

  FakeClock clock_;
  Duration retry_after_{};
};

TEST_F(AdmissionTest, WithoutTenantsEverybodyIsDefault) {
  Admission admission({}, clock_);
  EXPECT_TRUE(admission.open());
  EXPECT_EQ(*Authenticate(admission, ""), "default");
  EXPECT_EQ(*Authenticate(admission, "any"), "default");
  EXPECT_TRUE(admission.Allowed("default", "medical"));
  std::vector<Ticket> tickets;
  for (int i = 0; i < 1000; ++i) {
    auto ticket = Admit(admission, "default");
    ASSERT_TRUE(ticket.ok());
    tickets.push_back(*std::move(ticket));
  }
  EXPECT_EQ(tickets.front().tenant(), "default");
  EXPECT_EQ(tickets.front().weight(), 1);
}

TEST_F(AdmissionTest, KeysTellTenantsApart) {
  TenantConfig two = Tenant("two", "key-2");
  two.key_sha256.push_back(Sha256Hex("key-2b"));
  Admission admission({Tenant("one", "key-1"), two}, clock_);
  EXPECT_FALSE(admission.open());
  EXPECT_EQ(*Authenticate(admission, "key-1"), "one");
  EXPECT_EQ(*Authenticate(admission, "key-2"), "two");
  EXPECT_EQ(*Authenticate(admission, "key-2b"), "two");
  for (const std::string& key : {std::string(), std::string("key"), std::string("key-11"),
                                 std::string("KEY-1"), std::string("default"), Sha256Hex("key-1")}) {
    EXPECT_EQ(Authenticate(admission, key).status().code(), absl::StatusCode::kUnauthenticated) << key;
  }
}

TEST_F(AdmissionTest, EveryTenantOfManyIsFoundByItsKeys) {
  std::vector<TenantConfig> tenants;
  for (int i = 0; i < 500; ++i) {
    tenants.push_back(Tenant("t" + std::to_string(i), "key-" + std::to_string(i)));
    tenants.back().key_sha256.push_back(Sha256Hex("next-" + std::to_string(i)));
  }
  const Admission admission(tenants, clock_);
  for (int i = 0; i < 500; ++i) {
    for (const char* kind : {"key-", "next-"}) {
      EXPECT_EQ(*Authenticate(admission, kind + std::to_string(i)), "t" + std::to_string(i));
    }
  }
  EXPECT_FALSE(Authenticate(admission, "key-500").ok());
}

TEST_F(AdmissionTest, WrongKeysFromOneAddressAreSlowedAndRightOnesAreNot) {
  const Admission admission({Tenant("a", "right")}, clock_);
  for (int i = 0; i < WrongKeys::kBurst; ++i) {
    const std::string peer = "ipv4:192.0.2.1:" + std::to_string(1000 + i);
    EXPECT_EQ(Authenticate(admission, i % 2 == 0 ? "wrong" : "", peer).status().code(),
              absl::StatusCode::kUnauthenticated);
    EXPECT_EQ(retry_after_, Duration{});
  }
  const auto slowed = Authenticate(admission, "wrong", "ipv4:192.0.2.1:9");
  EXPECT_EQ(slowed.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(retry_after_, seconds(1));
  Duration retry_after{};
  EXPECT_EQ(admission.CountWrongKey("ipv4:192.0.2.1:10", &retry_after).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(*Authenticate(admission, "right", "ipv4:192.0.2.1:9"), "a");
  EXPECT_EQ(Authenticate(admission, "wrong", "ipv4:192.0.2.2:9").status().code(),
            absl::StatusCode::kUnauthenticated)
      << "another address";
  clock_.Advance(seconds(1));
  EXPECT_EQ(Authenticate(admission, "wrong").status().code(), absl::StatusCode::kUnauthenticated);
}

TEST(WrongKeysTest, TheTableIsBoundedAndForgetsTheLeastRecent) {
  FakeClock clock;
  WrongKeys wrong_keys(clock);
  for (int i = 0; i <= WrongKeys::kBurst; ++i) wrong_keys.Count("unix:");
  EXPECT_GT(wrong_keys.Count("unix:"), Duration{});
  for (size_t i = 0; i < 2 * WrongKeys::kMostAddresses; ++i) {
    wrong_keys.Count("ipv4:10.0." + std::to_string(i / 256) + "." + std::to_string(i % 256) + ":1");
    if (i % 100 == 0) {
      EXPECT_GT(wrong_keys.Count("unix:"), Duration{}) << "it is heard of all the time";
    }
  }
  EXPECT_EQ(wrong_keys.addresses(), WrongKeys::kMostAddresses);
  for (size_t i = 0; i < WrongKeys::kMostAddresses; ++i)
    wrong_keys.Count("ipv4:11.0." + std::to_string(i / 256) + "." + std::to_string(i % 256) + ":1");
  EXPECT_EQ(wrong_keys.Count("unix:"), Duration{}) << "forgotten";
}

TEST(PeerAddressTest, LeavesThePortOut) {
  EXPECT_EQ(PeerAddress("ipv4:192.0.2.1:4711"), "ipv4:192.0.2.1");
  EXPECT_EQ(PeerAddress("unix:"), "unix:");
  EXPECT_EQ(PeerAddress("unix:/run/hydrad.sock"), "unix:/run/hydrad.sock");
  EXPECT_EQ(PeerAddress("ipv6:nonsense"), "ipv6:nonsense");
  EXPECT_EQ(PeerAddress(""), "");
  const std::string one = PeerAddress("ipv6:%5B2001:db8:0:1::1%5D:4711");
  EXPECT_EQ(one, PeerAddress("ipv6:[2001:db8:0:1:ffff::2]:9"));
  EXPECT_NE(one, PeerAddress("ipv6:%5B2001:db8:0:2::1%5D:4711"));
  EXPECT_EQ(PeerAddress("ipv6:%5Bfe80::1%25eth0%5D:1"), PeerAddress("ipv6:%5Bfe80::2%5D:1"));
}

TEST_F(AdmissionTest, AdaptersAreDeniedByDefault) {
  TenantConfig config = Tenant("a", "k");
  config.adapters = {"medical", "legal-*", "acme/*"};
  config.base_model = false;
  Admission admission({config}, clock_);
  const std::vector<std::pair<std::string, bool>> cases = {
      {"medical", true},     {"medical2", false},   {"Medical", false},    {"legal-", true},
      {"legal", false},      {"legal-uk", true},    {"a-legal-uk", false}, {"", false},
      {"legal-uk/eu", true}, {"acme/bot@v2", true}, {"acme", false},       {"acme-2/bot", false}};
  for (const auto& [adapter, allowed] : cases) {
    EXPECT_EQ(admission.Allowed("a", adapter), allowed) << adapter;
  }
  EXPECT_FALSE(admission.Allowed("nobody", "medical"));
  EXPECT_EQ(Admit(admission, "nobody").status().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(AdmissionTest, PlacesComeBackWithTheTicket) {
  TenantConfig config = Tenant("a", "k");
  config.max_concurrent = 2;
  config.weight = 3;
  Admission admission({config, Tenant("b", "l")}, clock_);
  std::optional<Ticket> first = *Admit(admission, "a");
  Ticket second = *Admit(admission, "a");
  EXPECT_EQ(second.weight(), 3);

  const auto refused = Admit(admission, "a");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(refused.status().message(), "tenant 'a' already runs its 2 concurrent requests");
  EXPECT_EQ(retry_after_, seconds(1));
  EXPECT_TRUE(Admit(admission, "b").ok()) << "one tenant's limit is not another's";

  first.reset();
  Ticket third = *Admit(admission, "a");
  EXPECT_FALSE(Admit(admission, "a").ok());
  Ticket moved = std::move(second);
  EXPECT_EQ(second.tenant(), "");
  EXPECT_FALSE(Admit(admission, "a").ok()) << "moving a ticket frees nothing";
  moved = std::move(third);
  EXPECT_TRUE(Admit(admission, "a").ok()) << "assigning over a ticket frees its place";
}

TEST_F(AdmissionTest, APlaceIsFreeWhenTheLastOfTheAnswerIsOnItsWay) {
  TenantConfig config = Tenant("a", "k");
  config.max_concurrent = 1;
  Admission admission({config}, clock_);
  std::vector<Ticket> delivering;
  for (int i = 0; i < 5; ++i) {
    delivering.push_back(*Admit(admission, "a"));
    EXPECT_FALSE(Admit(admission, "a").ok());
    delivering.back().Deliver();
    delivering.back().Deliver();  // again: nothing
  }
  const auto refused = Admit(admission, "a");
  EXPECT_EQ(refused.status().message(), "tenant 'a' does not read the answers that it has");
  delivering.pop_back();
  const Ticket next = *Admit(admission, "a");
  EXPECT_FALSE(Admit(admission, "a").ok());
  Ticket().Deliver();
}

TEST_F(AdmissionTest, BucketAllowsABurstThenTheRate) {
  TenantConfig config = Tenant("a", "k");
  config.requests_per_second = 4;
  config.burst = 3;
  Admission admission({config}, clock_);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Admit(admission, "a").ok()) << i;

  const auto refused = Admit(admission, "a");
  EXPECT_EQ(refused.status().message(), "tenant 'a' is over its 4 requests per second");
  EXPECT_EQ(retry_after_, milliseconds(250));
  clock_.Advance(milliseconds(100));
  EXPECT_FALSE(Admit(admission, "a").ok());
  EXPECT_EQ(retry_after_, milliseconds(150));
  clock_.Advance(retry_after_ - Duration(1));
  EXPECT_FALSE(Admit(admission, "a").ok());
  clock_.Advance(Duration(1));
  EXPECT_TRUE(Admit(admission, "a").ok()) << "retry_after was exact";
  EXPECT_FALSE(Admit(admission, "a").ok());

  clock_.Advance(std::chrono::hours(1));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Admit(admission, "a").ok()) << "never more than the burst";
  EXPECT_FALSE(Admit(admission, "a").ok());
}

TEST_F(AdmissionTest, CallsWithoutAPlaceCountAgainstTheSameRate) {
  TenantConfig config = Tenant("a", "k");
  config.max_concurrent = 1;
  config.requests_per_second = 2;
  config.burst = 4;
  Admission admission({config}, clock_);
  const Ticket held = *Admit(admission, "a");
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(admission.AdmitCall("a", &retry_after_).ok()) << i;
  EXPECT_EQ(admission.AdmitCall("a", &retry_after_).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(retry_after_, milliseconds(500));
  EXPECT_EQ(admission.AdmitCall("nobody", &retry_after_).code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(AdmissionTest, TellsHowMuchOfARateIsLeft) {
  TenantConfig config = Tenant("a", "k");
  config.requests_per_second = 2;
  config.burst = 4;
  Admission admission({config, Tenant("free", "f")}, clock_);
  const auto expect_left = [&](int left, Duration until_full) {
    const auto rate = admission.RateOf("a");
    ASSERT_TRUE(rate.has_value());
    EXPECT_EQ(rate->burst, 4);
    EXPECT_EQ(rate->left, left);
    EXPECT_EQ(rate->until_full, until_full);
  };
  expect_left(4, Duration{});
  for (int taken = 1; taken <= 4; ++taken) {
    ASSERT_TRUE(Admit(admission, "a").ok());
    expect_left(4 - taken, taken * milliseconds(500));
  }
  EXPECT_FALSE(Admit(admission, "a").ok());
  expect_left(0, seconds(2));
  clock_.Advance(milliseconds(499));
  expect_left(0, milliseconds(1501));
  clock_.Advance(milliseconds(1));
  expect_left(1, milliseconds(1500));
  clock_.Advance(std::chrono::hours(1));
  expect_left(4, Duration{});
  EXPECT_FALSE(admission.RateOf("free").has_value()) << "no limit";
  EXPECT_FALSE(admission.RateOf("nobody").has_value());
}

TEST_F(AdmissionTest, RefusalForConcurrencyTakesNoToken) {
  TenantConfig config = Tenant("a", "k");
  config.max_concurrent = 1;
  config.requests_per_second = 1;
  config.burst = 2;
  Admission admission({config}, clock_);
  {
    const Ticket held = *Admit(admission, "a");
    for (int i = 0; i < 10; ++i) EXPECT_FALSE(Admit(admission, "a").ok());
  }
  EXPECT_TRUE(Admit(admission, "a").ok());
  EXPECT_FALSE(Admit(admission, "a").ok());
}

TEST_F(AdmissionTest, TicketMayOutliveItsAdmission) {
  Ticket ticket;
  {
    Admission admission({Tenant("a", "k")}, clock_);
    ticket = *Admit(admission, "a");
  }
  EXPECT_EQ(ticket.tenant(), "a");
}

TEST_F(AdmissionTest, LimitHoldsUnderThreads) {
  TenantConfig config = Tenant("a", "k");
  config.max_concurrent = 3;
  Admission admission({config}, clock_);
  std::atomic<int> running = 0, most = 0, served = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      Duration retry_after{};
      for (int i = 0; i < 2000; ++i) {
        auto ticket = admission.Admit("a", &retry_after);
        if (!ticket.ok()) continue;
        const int now = ++running;
        for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
        }
        ++served;
        --running;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, 3);
  EXPECT_GT(served, 0);
  std::vector<Ticket> all;
  for (int i = 0; i < 3; ++i) all.push_back(*Admit(admission, "a"));
  EXPECT_FALSE(Admit(admission, "a").ok()) << "every place came back, and no more";
}

TEST(Sha256Hex, IsLowerCase) {
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(AdmissionReplaceTest, TicketsStayGoodAndCountOnWhileKeysAreThoseOfNow) {
  FakeClock clock;
  TenantConfig acme = Tenant("acme", "old");
  acme.max_concurrent = 2;
  TenantConfig globex = Tenant("globex", "globex");
  Admission admission({acme, globex}, clock);
  Duration retry{};
  Ticket first = *admission.Admit("acme", &retry), second = *admission.Admit("acme", &retry);
  Ticket gone = *admission.Admit("globex", &retry);

  acme.key_sha256 = {Sha256Hex("new")};
  acme.adapters = {"sql"};
  admission.Replace({acme});
  EXPECT_EQ(admission.Authenticate("old", "", &retry).status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(*admission.Authenticate("new", "", &retry), "acme");
  EXPECT_EQ(admission.Authenticate("globex", "", &retry).status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_TRUE(admission.Allowed("acme", "sql"));
  EXPECT_EQ(admission.Admit("globex", &retry).status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(gone.tenant(), "globex");
  EXPECT_EQ(admission.Admit("acme", &retry).status().code(), absl::StatusCode::kResourceExhausted);
  first = Ticket();
  EXPECT_TRUE(admission.Admit("acme", &retry).ok());
}

TEST(AdmissionReplaceTest, ABucketIsNewOnlyWhenItsLimitsAre) {
  FakeClock clock;
  TenantConfig acme = Tenant("acme", "key");
  acme.requests_per_second = 0.001;
  Admission admission({acme}, clock);
  Duration retry{};
  EXPECT_TRUE(admission.Admit("acme", &retry).ok());
  admission.Replace({acme});
  EXPECT_FALSE(admission.Admit("acme", &retry).ok());
  acme.burst = 5;
  admission.Replace({acme});
  EXPECT_TRUE(admission.Admit("acme", &retry).ok());
}

TEST(AdmissionReplaceTest, AnOpenDoorCanBeClosed) {
  FakeClock clock;
  Admission admission({}, clock);
  Duration retry{};
  EXPECT_TRUE(admission.open());
  TenantConfig acme = Tenant("acme", "key");
  admission.Replace({acme});
  EXPECT_FALSE(admission.open());
  EXPECT_FALSE(admission.Authenticate("", "", &retry).ok());
}

TEST(AdmissionReplaceTest, CallsGoOnMeanwhile) {
  FakeClock clock;
  TenantConfig acme = Tenant("acme", "key");
  Admission admission({acme}, clock);
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&admission] {
      for (int j = 0; j < 200; ++j) {
        Duration retry{};
        EXPECT_EQ(*admission.Authenticate("key", "", &retry), "acme");
        EXPECT_TRUE(admission.Admit("acme", &retry).ok());
      }
    });
  }
  for (int i = 0; i < 50; ++i) admission.Replace({acme});
  for (std::thread& caller : callers) caller.join();
}

}  // namespace
}  // namespace hydrad
