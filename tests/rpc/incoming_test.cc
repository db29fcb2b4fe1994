#include "server/rpc/incoming.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hydrad/v1/admin.pb.h"
#include "hydrad/v1/inference.pb.h"
#include "server/front/error_details.h"

namespace hydrad {
namespace {

constexpr char kBad[] = "a\xff";

// Messages cannot be made with text that is not UTF-8 without a record about it, so `text` stands for it.
std::string With(std::string bytes, const std::string& text, const std::string& instead) {
  const size_t at = bytes.find(text);
  EXPECT_NE(at, std::string::npos);
  return bytes.replace(at, text.size(), instead);
}

grpc::ByteBuffer Bytes(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

template <class Message>
absl::Status Parse(const std::string& bytes) {
  Message message;
  return ParseMessage(Bytes(bytes), &message);
}

v1::GenerateRequest Whole() {
  v1::GenerateRequest message;
  message.set_text("T0");
  message.add_adapters()->set_name("N0");
  message.add_adapters()->set_name("N1");
  (*message.mutable_sampling()->mutable_logit_bias())[3] = 1;
  for (const char* stop : {"S0", "S1", "S2"}) message.mutable_stopping()->add_stop(stop);
  message.set_expert("E0");
  return message;
}

TEST(ParseMessageTest, ReadsAMessageInAnyPieces) {
  const std::string bytes = Whole().SerializeAsString();
  std::vector<grpc::Slice> slices;
  for (const char byte : bytes) slices.emplace_back(&byte, 1);
  v1::GenerateRequest message;
  ASSERT_TRUE(ParseMessage(grpc::ByteBuffer(slices.data(), slices.size()), &message).ok());
  EXPECT_EQ(message.SerializeAsString(), bytes);
  EXPECT_TRUE(Parse<v1::GenerateRequest>("").ok()) << "nothing is a message, too";
}

TEST(ParseMessageTest, TextThatIsNotUtf8IsNamed) {
  const std::string bytes = Whole().SerializeAsString();
  const std::vector<std::pair<std::string, std::string>> cases = {{"T0", "text"},
                                                                  {"N0", "adapters[0].name"},
                                                                  {"N1", "adapters[1].name"},
                                                                  {"S2", "stopping.stop[2]"},
                                                                  {"E0", "expert"}};
  for (const auto& [text, field] : cases) {
    const absl::Status status = Parse<v1::GenerateRequest>(With(bytes, text, kBad));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ReasonOf(status), "INVALID_FIELD");
    EXPECT_EQ(std::string(status.message()), field + " must be UTF-8");
  }
  v1::LoadAdapterRequest load;
  load.set_path("P0");
  EXPECT_THAT(
      std::string(Parse<v1::LoadAdapterRequest>(With(load.SerializeAsString(), "P0", kBad)).message()),
      testing::HasSubstr("path"));
}

// Every prefix, and every byte changed: a message, or an error of the caller's.
TEST(ParseMessageTest, BytesThatAreNoMessageAreTheCallersMistake) {
  const std::string bytes = Whole().SerializeAsString();
  int refused = 0;
  const auto check = [&](const std::string& changed) {
    const absl::Status status = Parse<v1::GenerateRequest>(changed);
    if (status.ok()) return;
    ++refused;
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(ReasonOf(status), testing::AnyOf("MALFORMED_MESSAGE", "INVALID_FIELD"));
  };
  for (size_t n = 0; n < bytes.size(); ++n) check(bytes.substr(0, n));
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (const char byte : {'\x00', '\x07', '\x7f', '\xff'}) {
      std::string changed = bytes;
      changed[i] = byte;
      check(changed);
    }
  }
  EXPECT_GT(refused, 50);
  const absl::Status status = Parse<v1::TokenizeRequest>("\xff\xff\xff");
  EXPECT_EQ(ReasonOf(status), "MALFORMED_MESSAGE");
  EXPECT_EQ(status.message(), "the bytes of the call are not a hydrad.v1.TokenizeRequest");
}

TEST(ParseMessageTest, NoMessageAtAll) {
  v1::GenerateRequest message;
  const absl::Status status = ParseMessage(grpc::ByteBuffer(), &message);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(status), "MALFORMED_MESSAGE");
}

TEST(IncomingTest, IsTakenOnce) {
  grpc::ByteBuffer bytes = Bytes(Whole().SerializeAsString());
  const size_t size = bytes.Length();
  Incoming<v1::GenerateRequest> incoming;
  incoming.Set(&bytes);
  EXPECT_EQ(incoming.size(), size);
  const auto message = incoming.Parse();
  ASSERT_TRUE(message.ok());
  EXPECT_EQ(message->text(), "T0");
  EXPECT_EQ(incoming.size(), 0u) << "a call that lasts does not keep the bytes";
}

}  // namespace
}  // namespace hydrad
