#include "server/base/log.h"

#include <gtest/gtest.h>

namespace hydrad {
namespace {

TEST(Log, TakesItsLevelByName) {
  InitLog("warn");
  EXPECT_FALSE(Log()->should_log(spdlog::level::info));
  EXPECT_TRUE(Log()->should_log(spdlog::level::warn));
  SetLogLevel("debug");
  EXPECT_TRUE(Log()->should_log(spdlog::level::debug));
}

}  // namespace
}  // namespace hydrad
