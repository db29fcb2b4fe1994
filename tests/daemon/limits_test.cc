#include "server/limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

namespace hydrad {
namespace {

using testing::HasSubstr;

TEST(ShareDescriptorsTest, AdministratorsHaveTheirOwn) {
  const ConnectionShares shares = *ShareDescriptors(1024, 1, 1, 0, 0);
  EXPECT_EQ(shares.admin, 104);
  EXPECT_EQ(shares.inference, 1024 - 192 - 104);
  EXPECT_EQ(shares.per_peer, shares.inference / 4);
  EXPECT_EQ(shares.admin_per_peer, 52);
  EXPECT_EQ(ShareDescriptors(1 << 20, 1, 1, 0, 0)->admin, 256);
}

TEST(ShareDescriptorsTest, WhatIsWantedLowersThem) {
  const ConnectionShares shares = *ShareDescriptors(1024, 1, 1, 100, 0);
  EXPECT_EQ(shares.inference, 100);
  EXPECT_EQ(shares.per_peer, 25);
  EXPECT_EQ(ShareDescriptors(1024, 1, 1, 100, 80)->per_peer, 80);
  EXPECT_EQ(ShareDescriptors(1024, 1, 1, 100, 500)->per_peer, 100);
  EXPECT_EQ(ShareDescriptors(1024, 1, 1, 1, 0)->per_peer, 1);
}

TEST(ShareDescriptorsTest, TheListenersOfInferenceHaveAsManyEach) {
  const ConnectionShares shares = *ShareDescriptors(1024, 2, 1, 0, 0);
  EXPECT_EQ(shares.inference, (1024 - 192 - 104) / 2);
  EXPECT_EQ(shares.admin, 104);
  EXPECT_EQ(ShareDescriptors(1024, 2, 1, 100, 0)->inference, 100);
  EXPECT_THAT(std::string(ShareDescriptors(1024, 2, 1, 400, 0).status().message()), HasSubstr("1096"));
}

TEST(ShareDescriptorsTest, EachListenerOfAdministratorsHasItsOwn) {
  const ConnectionShares shares = *ShareDescriptors(1024, 1, 2, 0, 0);
  EXPECT_EQ(shares.admin, 104);
  EXPECT_EQ(shares.inference, 1024 - 192 - 2 * 104);
}

TEST(ShareDescriptorsTest, TooFewAreAnErrorThatSaysHowManyAreNeeded) {
  EXPECT_THAT(std::string(ShareDescriptors(128, 1, 1, 0, 0).status().message()), HasSubstr("at least 224"));
  EXPECT_TRUE(ShareDescriptors(224, 1, 1, 0, 0).ok());
  EXPECT_THAT(std::string(ShareDescriptors(1024, 1, 1, 2000, 0).status().message()), HasSubstr("2296"));
}

TEST(RaiseFileLimitTest, TheSoftLimitBecomesTheHardOne) {
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  rlimit low = before;
  low.rlim_cur = 256;
  setrlimit(RLIMIT_NOFILE, &low);
  const int raised = RaiseFileLimit();
  rlimit after{};
  getrlimit(RLIMIT_NOFILE, &after);
  EXPECT_EQ(after.rlim_cur, before.rlim_max);
  EXPECT_GE(raised, 256);
  setrlimit(RLIMIT_NOFILE, &before);
}

TEST(CheckThreadsTest, AFewCanBeHad) { EXPECT_TRUE(CheckThreads(8).ok()); }

// Says on stderr what a check found in a process with these limits, and ends.
[[noreturn]] void CheckWithin(int resource, rlim_t most, const std::function<absl::Status()>& check) {
  // The limit on processes does not hold for root.
  if (resource == RLIMIT_NPROC && setuid(65534) != 0) std::fputs("not root, ", stderr);
  const rlimit limit = {most, most};
  setrlimit(resource, &limit);
  const absl::Status status = check();
  std::fprintf(stderr, "%s", std::string(status.message()).c_str());
  std::_Exit(status.ok() ? 0 : 1);
}

TEST(LimitsDeathTest, TooFewThreadsAreCounted) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(CheckWithin(RLIMIT_NPROC, 1, [] { return CheckThreads(16); }), testing::ExitedWithCode(1),
              "16 threads are needed and the system gives [0-9]+ .*ulimit -u");
}

TEST(LimitsDeathTest, TooFewAddressesAreCounted) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer takes terabytes of addresses";
#endif
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(CheckWithin(RLIMIT_AS, 2ull << 30, [] { return CheckAddressSpace(4ull << 30); }),
              testing::ExitedWithCode(1), "address space is 2048 MiB.*ulimit -v");
  EXPECT_EXIT(CheckWithin(RLIMIT_AS, 8ull << 30, [] { return CheckAddressSpace(1ull << 30); }),
              testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace hydrad
