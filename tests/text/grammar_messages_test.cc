#include "server/text/grammar_messages.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>

namespace hydrad {
namespace {

TEST(GrammarMessagesTest, FormsComeBackAsTheyWere) {
  const AnswerForm forms[] = {
      {},
      {.kind = AnswerForm::Kind::kJsonSchema, .text = R"({"type": "string"})", .choices = {}},
      {.kind = AnswerForm::Kind::kChoice, .text = "", .choices = {"yes", std::string("\0n\xff", 3), ""}},
  };
  for (const AnswerForm& form : forms) {
    const std::string bytes = EncodeForm(form);
    const absl::StatusOr<AnswerForm> back = DecodeForm(bytes);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(*back, form);
    for (size_t cut = 0; cut < bytes.size(); ++cut) {
      const absl::StatusOr<AnswerForm> part = DecodeForm(std::string_view(bytes).substr(0, cut));
      EXPECT_FALSE(part.ok() && *part == form) << cut;
    }
  }
}

TEST(GrammarMessagesTest, VocabulariesComeBackAsTheyWere) {
  const Vocabulary vocabulary{
      .tokens = {"", "a", "\xf0\x9f", "long token"}, .end_tokens = {0, 3}, .control = {}};
  const std::string bytes = EncodeVocabulary(vocabulary);
  const absl::StatusOr<Vocabulary> back = DecodeVocabulary(bytes);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->tokens, vocabulary.tokens);
  EXPECT_EQ(back->end_tokens, vocabulary.end_tokens);
  EXPECT_FALSE(DecodeVocabulary(bytes.substr(0, bytes.size() - 1)).ok());
  EXPECT_FALSE(DecodeVocabulary(std::string(4, '\xff')).ok());
}

TEST(GrammarMessagesTest, RepliesCarryAStatusOrItsContent) {
  EXPECT_EQ(*DecodeReply(EncodeReply(absl::OkStatus(), "words")), "words");
  const absl::Status wrong = absl::InvalidArgumentError("why");
  EXPECT_EQ(DecodeReply(EncodeReply(wrong)).status(), wrong);
  EXPECT_FALSE(DecodeReply("no").ok());
}

TEST(GrammarMessagesTest, PacketsBringDescriptors) {
  std::array<int, 2> ends, pipe_ends;
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends.data()), 0);
  ASSERT_EQ(pipe(pipe_ends.data()), 0);
  FileDescriptor mine(ends[0]), its(ends[1]), reads(pipe_ends[0]), writes(pipe_ends[1]);
  const std::string big(kMaxPacket, 'x');
  EXPECT_TRUE(SendPacket(mine.get(), big, writes.get()).ok());
  writes.Reset();
  FileDescriptor came;
  EXPECT_EQ(ReceivePacket(its.get(), &came), big);
  EXPECT_EQ(write(came.get(), "!", 1), 1);
  char got = 0;
  EXPECT_EQ(read(reads.get(), &got, 1), 1);
  EXPECT_EQ(got, '!');
  EXPECT_TRUE(SendPacket(mine.get(), "plain").ok());
  EXPECT_EQ(ReceivePacket(its.get(), &came), "plain");
  EXPECT_EQ(came.get(), -1);
  mine.Reset();
  EXPECT_EQ(ReceivePacket(its.get()), std::nullopt);
  EXPECT_EQ(SendPacket(its.get(), "nobody").code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace hydrad
