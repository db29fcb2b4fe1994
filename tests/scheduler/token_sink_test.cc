#include "server/scheduler/token_sink.h"

#include <gtest/gtest.h>

namespace hydrad {
namespace {

TEST(FinishReason, ClientsSeeStopOrLength) {
  EXPECT_STREQ(Name(FinishReason::kStop), "stop");
  EXPECT_STREQ(Name(FinishReason::kStopString), "stop");
  EXPECT_STREQ(Name(FinishReason::kStopToken), "stop");
  EXPECT_STREQ(Name(FinishReason::kLength), "length");
}

}  // namespace
}  // namespace hydrad
