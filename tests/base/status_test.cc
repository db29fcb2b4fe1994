
#include "server/base/reason.h"

#include <absl/status/statusor.h>
#include <gtest/gtest.h>

#include "server/base/check.h"
#include "server/base/invalid_argument.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

using std::string_view_literals::operator""sv;

absl::StatusOr<int> Half(int x) {
  if (x % 2 != 0) return InvalidArgument("{} is odd", x);
  return x / 2;
}

absl::StatusOr<int> Quarter(int x) {
  ASSIGN_OR_RETURN(const int half, Half(x));
  ASSIGN_OR_RETURN(const int quarter, Half(half));
  return quarter;
}

absl::Status CheckAll(int a, int b) {
  RETURN_IF_ERROR(Half(a).status());
  RETURN_IF_ERROR(Half(b).status());
  return absl::OkStatus();
}

TEST(Status, MakersTakeStdStringViews) {
  const absl::Status status = NotFound("adapter '{}' is not registered", "sql"sv);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "adapter 'sql' is not registered");
}

TEST(Status, AssignOrReturnPassesErrorsOn) {
  EXPECT_EQ(*Quarter(12), 3);
  EXPECT_EQ(Quarter(6).status().message(), "3 is odd");
  EXPECT_EQ(Quarter(5).status().message(), "5 is odd");
}

TEST(Status, ReturnIfErrorStopsAtTheFirst) {
  EXPECT_TRUE(CheckAll(2, 4).ok());
  EXPECT_EQ(CheckAll(3, 5).message(), "3 is odd");
}

TEST(Status, AnnotateKeepsTheCode) {
  const absl::Status status = Annotate(DataLoss("NaN"), "model.safetensors");
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(status.message(), "model.safetensors: NaN");
  EXPECT_TRUE(Annotate(absl::OkStatus(), "x").ok());
}

TEST(Status, AnnotateKeepsTheReason) {
  const absl::Status status = Annotate(Because(Unavailable("gone"), "DEVICE_LOST"), "adapter 'a'");
  EXPECT_EQ(status.message(), "adapter 'a': gone");
  EXPECT_EQ(ReasonGiven(status), "DEVICE_LOST");
}

TEST(StatusDeathTest, CheckNamesTheCondition) { EXPECT_DEATH(HYDRAD_CHECK(1 + 1 == 3), "1 \\+ 1 == 3"); }

}  // namespace
}  // namespace hydrad
