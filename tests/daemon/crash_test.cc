// What is left behind by a process that crashes, hangs or does not end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "server/base/check.h"
#include "server/base/mutex.h"
#include "server/base/thread_name.h"
#include "server/crash_report.h"
#include "server/stall_report.h"
#include "server/watchdog.h"
#include "server/where_is.h"
#include "tests/fakes/fake_clock.h"

namespace hydrad {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::KilledBySignal;

class CrashDeathTest : public testing::Test {
 protected:
  CrashDeathTest() { testing::FLAGS_gtest_death_test_style = "threadsafe"; }
  void SetUp() override {
#if defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "the sanitizer handles signals itself, later";
#endif
  }
  template <class Body>
  static void InThread(const std::string& name, Body body) {
    InstallCrashReport();
    std::thread([&] {
      NameThisThread(name);
      body();
    }).join();
  }
};

// Deep enough for any stack. (What it returns keeps the compiler from making a loop of it.)
int Overflow(volatile int* depth) {
  volatile char frame[4096];
  frame[0] = static_cast<char>(*depth);
  *depth = *depth + 1;
  return *depth > 0 ? Overflow(depth) + frame[0] : 0;
}

TEST_F(CrashDeathTest, ABadAddressIsNamedWithItsThreadAndPlace) {
  EXPECT_EXIT(InThread("worker 7",
                       [] {
                         volatile int* bad = reinterpret_cast<int*>(0x1230);
                         *bad = 1;
                       }),
              KilledBySignal(SIGSEGV),
              "crash: signal 11 .SIGSEGV. in thread 'worker 7' at address 0x1230; .*\n.*\\+0x");
}

TEST_F(CrashDeathTest, AFailedCheckAndAnExceptionThatNobodyCatches) {
  EXPECT_EXIT(InThread("a", [] { HYDRAD_CHECK(1 + 1 == 3); }), KilledBySignal(SIGABRT),
              "check failed: 1 \\+ 1 == 3\n.*crash: signal 6 .SIGABRT. in thread 'a'.*\n.*\\+0x");
  EXPECT_EXIT(InThread("b", [] { throw std::runtime_error("what it says"); }), KilledBySignal(SIGABRT),
              "what it says\n.*crash: signal 6 .SIGABRT. in thread 'b'.*\n.*\\+0x");
}

TEST_F(CrashDeathTest, AStackThatIsFullIsReportedFromAnother) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer has stacks of its own";
#endif
  EXPECT_EXIT(InThread("deep",
                       [] {
                         volatile int depth = 0;
                         Overflow(&depth);
                       }),
              KilledBySignal(SIGSEGV), "crash: signal 11 .SIGSEGV. in thread 'deep'");
}

TEST_F(CrashDeathTest, OneThatAnotherProcessSentIsSaidToBe) {
  EXPECT_EXIT(InThread("c",
                       [] {
                         kill(getpid(), SIGBUS);
                         pause();
                       }),
              KilledBySignal(SIGBUS), "signal 7 .SIGBUS. in thread '.*' sent by process [0-9]+");
}

TEST_F(CrashDeathTest, AnEndThatDoesNotComeIsMadeAndSaysWhy) {
  EXPECT_EXIT(
      {
        Watchdog watchdog([] { return std::string("in the test"); });
        watchdog.Enter("drain");
        watchdog.Arm(std::chrono::milliseconds(1));
        for (;;) pause();
      },
      testing::ExitedWithCode(Watchdog::kExitCode),
      "the end has not come within 0.001 s, ending at once: stuck in 'drain': in the test");
}

TEST(WatchdogTest, AnEndThatComesIsLeftAlone) {
  Watchdog watchdog([] { return std::string(); });
  watchdog.Arm(std::chrono::hours(1));
}

// Somewhere to be found.
class WhereIsTest : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "the sanitizer handles signals itself, later";
#endif
  }
  WhereIsTest() {
    MutexLock lock(&mu_);
    mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return there_; });
  }
  ~WhereIsTest() override {
    {
      MutexLock lock(&mu_);
      stop_ = true;
    }
    thread_.join();
  }
  Mutex mu_;
  bool there_ = false, stop_ = false;
  std::thread thread_{[this] {
    NameThisThread("lost");
    MutexLock lock(&mu_);
    there_ = true;
    mu_.Await([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return stop_; });
  }};
};

TEST_F(WhereIsTest, AThreadTellsItsFramesAndGoesOn) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(WhereIs("lost", seconds(60)), testing::ContainsRegex("\\+0x[0-9a-f]+.* < .*\\+0x")) << i;
  }
}

TEST_F(WhereIsTest, OneThatDoesNotAnswerIsAskedOfTheKernel) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  NameThisThread("deaf");
  EXPECT_THAT(WhereIs("deaf", std::chrono::milliseconds(1)), HasSubstr("the kernel says: state R"));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  EXPECT_EQ(WhereIs("nobody", seconds(1)), "no thread 'nobody'");
}

TEST(StallReportTest, TellsABeginWhereItIsSometimesAndAnEnd) {
  FakeClock clock;
  std::vector<std::string> said;
  StallReport report(
      seconds(5), clock, [] { return std::string("here"); },
      [&](const std::string& text) { said.push_back(text); });
  report.Look(seconds(5));
  EXPECT_TRUE(said.empty());
  report.Look(seconds(6));
  report.Look(seconds(7));
  EXPECT_THAT(said, ElementsAre("the scheduler has not come round for 6.0 s: here"));
  clock.Advance(StallReport::kBetween);
  report.Look(seconds(66));
  EXPECT_EQ(said.size(), 2u);
  report.Look(seconds(0));
  report.Look(seconds(1));
  EXPECT_THAT(said.back(), HasSubstr("comes round again"));
  EXPECT_EQ(said.size(), 3u);
}

}  // namespace
}  // namespace hydrad
