#include "server/rpc/to_proto.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "server/base/invalid_argument.h"

namespace hydrad {
namespace {

template <class Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

TEST(ToProtoTest, FinishReasons) {
  for (const auto& [reason, expected] : {std::pair{FinishReason::kStop, v1::FINISH_REASON_STOP},
                                         std::pair{FinishReason::kStopString, v1::FINISH_REASON_STOP},
                                         std::pair{FinishReason::kStopToken, v1::FINISH_REASON_STOP},
                                         std::pair{FinishReason::kLength, v1::FINISH_REASON_LENGTH}}) {
    OutputPiece piece;
    piece.finished = true;
    piece.reason = reason;
    EXPECT_EQ(ToProto(piece, false, nullptr).finish_reason(), expected);
  }
}

TEST(ToProtoTest, TokenIdsAreSentOnRequest) {
  OutputPiece piece;
  piece.tokens = {1, 2};
  EXPECT_EQ(ToProto(piece, false, nullptr).token_ids_size(), 0);
  EXPECT_EQ(ToProto(piece, true, nullptr).token_ids_size(), 2);
}

TEST(ToProtoTest, Routing) {
  AdapterRouting routing{"a", 9, {{3, Projection::kUp, {0.25f, 0.75f}}}, {{1, 0}, {1}}};
  const v1::Routing out = ToProto(routing);
  EXPECT_EQ(out.adapter(), "a");
  EXPECT_EQ(out.tokens(), 9);
  ASSERT_EQ(out.routers_size(), 1);
  EXPECT_EQ(out.routers(0).layer(), 3);
  EXPECT_EQ(out.routers(0).projection(), "up_proj");
  EXPECT_EQ(out.routers(0).mean(1), 0.75f);
  ASSERT_EQ(out.choices_size(), 2);
  EXPECT_EQ(out.choices(0).top(0), 1);
  EXPECT_EQ(out.choices(1).top_size(), 1);
}

TEST(ToProtoTest, AnAdapter) {
  AdapterInfo info;
  info.name = "sql";
  info.state = AdapterState::kFailed;
  info.generation = 4;
  info.path = "sql/v1";
  info.family = "hydralora";
  info.digest = "sha256:00";
  info.device_bytes = 99;
  info.max_rank = 8;
  info.experts = 3;
  info.targets = {"q_proj", "v_proj"};
  info.handles = 2;
  info.error = InvalidArgument("rank is 0");
  info.tier = Tier::kHost;
  info.pinned = true;
  info.host_bytes = 77;
  info.lenient = true;
  info.warnings = {"something"};
  const v1::Adapter expected = Parse<v1::Adapter>(
      "name: 'sql' state: FAILED generation: 4 path: 'sql/v1' family: 'hydralora' etag: 'sha256:00' "
      "device_bytes: 99 max_rank: 8 experts: 3 targets: 'q_proj' targets: 'v_proj' requests: 2 error: 'rank "
      "is 0' tier: HOST pinned: true host_bytes: 77 lenient: true warnings: \"something\"");
  EXPECT_EQ(ToProto(info).SerializeAsString(), expected.SerializeAsString());
}

TEST(ToProtoTest, EveryAdapterState) {
  for (const auto& [state, expected] : {std::pair{AdapterState::kLoading, v1::Adapter::LOADING},
                                        std::pair{AdapterState::kAvailable, v1::Adapter::AVAILABLE},
                                        std::pair{AdapterState::kUnloading, v1::Adapter::UNLOADING},
                                        std::pair{AdapterState::kFailed, v1::Adapter::FAILED},
                                        std::pair{AdapterState::kUnloaded, v1::Adapter::UNLOADED}}) {
    AdapterInfo info;
    info.state = state;
    EXPECT_EQ(ToProto(info).state(), expected);
  }
}

TEST(ToProtoTest, ATimestamp) {
  const auto time = std::chrono::system_clock::time_point(std::chrono::milliseconds(1'700'000'000'250));
  EXPECT_EQ(ToProto(time).seconds(), 1'700'000'000);
  EXPECT_EQ(ToProto(time).nanos(), 250'000'000);
}

TEST(ToProtoTest, AHead) {
  const AnswerHead head{.request_id = "req-1",
                        .prompt_tokens = 7,
                        .adapter = "",
                        .adapters = {{"a", 1}, {"b", -0.5f}},
                        .choices = 2,
                        .echo = "not of the start",
                        .token_ids = true,
                        .answer = {}};
  const v1::Start expected = Parse<v1::Start>(
      "prompt_tokens: 7 request_id: 'req-1' model: 'tiny' adapters { name: 'a' weight: 1 } "
      "adapters { name: 'b' weight: -0.5 }");
  EXPECT_EQ(ToProto(head, "tiny").SerializeAsString(), expected.SerializeAsString());
}

TEST(ToProtoTest, APage) {
  AdapterPage page;
  page.adapters.emplace_back().name = "a";
  page.next = "a";
  const v1::ListAdaptersResponse out = ToProto(page);
  ASSERT_EQ(out.adapters_size(), 1);
  EXPECT_EQ(out.adapters(0).name(), "a");
  EXPECT_EQ(out.next_page_token(), "a");
}

}  // namespace
}  // namespace hydrad
