#include "server/http/rate_headers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/fakes/fake_clock.h"
#include "tests/fakes/tenant.h"

namespace hydrad {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

TEST(RateHeadersTest, TellHowMuchIsLeftAndUntilWhen) {
  TenantConfig slow = Tenant("slow", "k");
  slow.requests_per_second = 2;
  slow.burst = 5;
  FakeClock clock;
  Admission admission({slow, Tenant("free", "f")}, clock);
  EXPECT_THAT(RateHeaders(admission.RateOf("free")), IsEmpty());
  EXPECT_THAT(RateHeaders(admission.RateOf("nobody")), IsEmpty());
  Duration wait{};
  ASSERT_TRUE(admission.AdmitCall("slow", &wait).ok());
  ASSERT_TRUE(admission.AdmitCall("slow", &wait).ok());
  EXPECT_THAT(RateHeaders(admission.RateOf("slow")), ElementsAre(Pair("x-ratelimit-limit-requests", "5"),
                                                                 Pair("x-ratelimit-remaining-requests", "3"),
                                                                 Pair("x-ratelimit-reset-requests", "1s")));
  clock.Advance(std::chrono::milliseconds(700));
  EXPECT_THAT(RateHeaders(admission.RateOf("slow")),
              ElementsAre(testing::_, Pair("x-ratelimit-remaining-requests", "4"),
                          Pair("x-ratelimit-reset-requests", "0.3s")));
  clock.Advance(std::chrono::seconds(700));
  EXPECT_EQ(admission.RateOf("slow")->left, 5);
}

}  // namespace
}  // namespace hydrad
