#include "server/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "tests/text/fixture.h"

namespace hydrad {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

json Special(const std::string& content) {
  return {{"content", content}, {"special", true}, {"normalized", false}};
}

// Ids: bytes 0 to 255, then 256 "he", 257 "Ġhe", 258 "é"; 259 <|end|> is only an added token.
json SmallByteLevel() {
  json file = ByteLevelFile({{"h", "e"}, {"Ġ", "he"}, {"Ã", "©"}});
  file["added_tokens"] = json::array({Special("<|end|>")});
  return file;
}

// Ids: 0 to 2 special, 3 to 258 bytes, 259 ▁, 260 a, 261 b, 262 ▁a, 263 ▁▁.
json SmallSentencePiece() { return SentencePieceFile({"▁", "a", "b"}, {{"▁", "a"}, {"▁", "▁"}}); }

const std::vector<int32_t> kSentencePiecePrompt = {1, 262};  // "a"

struct Kind {
  std::unique_ptr<const Tokenizer> tokenizer;
  int32_t byte0, a;  // ids of the byte 0 and of "a"
  int32_t byte(int value) const { return byte0 + value; }
};

std::vector<Kind> Kinds() {
  std::vector<Kind> kinds;
  kinds.push_back({LoadOrDie(SmallByteLevel()), 0, 'a'});
  kinds.push_back({LoadOrDie(SmallSentencePiece()), 3, 260});
  return kinds;
}

TEST(Tokenizer, ByteLevelThereAndBack) {
  const auto tokenizer = LoadOrDie(SmallByteLevel());
  const auto ids = tokenizer->Encode("he he é\xff", false, true);
  EXPECT_THAT(ids, ElementsAre(256, 257, ' ', 258, 0xef, 0xbf, 0xbd));
  EXPECT_EQ(tokenizer->Decode(ids, false), "he he é\uFFFD");
  EXPECT_THAT(tokenizer->Encode("", true, true), IsEmpty());
  EXPECT_EQ(tokenizer->Decode({}, true), "");
}

// What With and AddedBy refuse is tested where adapters' tokens are read.
TEST(Tokenizer, WithMoreTokens) {
  const auto base = LoadOrDie(SmallByteLevel());
  json file = SmallByteLevel();
  file["added_tokens"].push_back(Special("<|tool|>"));
  file["added_tokens"].push_back({{"content", "note"}, {"lstrip", true}});
  const auto added = base->AddedBy(file.dump());
  ASSERT_TRUE(added.ok()) << added.status();
  const auto more = base->With(*added);
  ASSERT_TRUE(more.ok()) << more.status();
  const auto whole = LoadOrDie(file);
  for (const char* text : {"he <|tool|> note<|end|>", "note", "é<|tool|>"}) {
    for (const bool special : {false, true}) {
      const auto ids = (*more)->Encode(text, false, special);
      EXPECT_EQ(ids, whole->Encode(text, false, special)) << text;
      EXPECT_EQ((*more)->Decode(ids, special), whole->Decode(ids, special)) << text;
    }
  }
  EXPECT_EQ((*more)->vocab_size(), 262);
  EXPECT_EQ(base->vocab_size(), 260) << "stays as it is";
  EXPECT_THAT(base->Encode("note", false, true), ElementsAre('n', 'o', 't', 'e'));
  EXPECT_EQ(*base->AddedBy(SmallByteLevel().dump()), "[]");
  EXPECT_FALSE(base->With("{").ok());
  EXPECT_FALSE(base->AddedBy("{").ok());
}

TEST(Tokenizer, SentencePieceThereAndBack) {
  const auto tokenizer = LoadOrDie(SmallSentencePiece());
  const auto ids = tokenizer->Encode("a  ab é", true, true);
  EXPECT_THAT(ids, ElementsAre(1, 262, 259, 262, 261, 259, 3 + 0xc3, 3 + 0xa9));
  EXPECT_EQ(tokenizer->Decode(ids, true), "a  ab é");
  EXPECT_EQ(tokenizer->Decode(ids, false), "<s> a  ab é");
}

TEST(Tokenizer, SpecialTokensInTextAreTokensOnlyWhenAsked) {
  const auto tokenizer = LoadOrDie(SmallByteLevel());
  EXPECT_THAT(tokenizer->Encode("h<|end|>e", false, true), ElementsAre('h', 259, 'e'));
  const auto plain = tokenizer->Encode("h<|end|>e", false, false);
  EXPECT_THAT(plain, ElementsAre('h', '<', '|', 'e', 'n', 'd', '|', '>', 'e'));
  EXPECT_EQ(tokenizer->Decode(plain, true), "h<|end|>e");
}

TEST(Tokenizer, PostProcessorTokensOnlyWhenAsked) {
  const auto tokenizer = LoadOrDie(SmallSentencePiece());
  EXPECT_THAT(tokenizer->Encode("a", true, false), ElementsAre(1, 262));
  EXPECT_THAT(tokenizer->Encode("a", false, true), ElementsAre(262));
  EXPECT_THAT(tokenizer->Encode("", true, true), ElementsAre(1));
}

TEST(Tokenizer, ATextIsNormalisedAnewBehindEverySpecialToken) {
  const auto tokenizer = LoadOrDie(SmallSentencePiece());
  EXPECT_THAT(tokenizer->Encode("a</s>a", false, true), ElementsAre(262, 2, 262));
}

TEST(Tokenizer, MetaspaceFirstIsTheStartOfTheInput) {
  json file = SmallSentencePiece();
  file["normalizer"] = nullptr;
  file["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}};
  const auto tokenizer = LoadOrDie(file);
  EXPECT_THAT(tokenizer->Encode("a</s>a", false, true), ElementsAre(262, 2, 260));
  EXPECT_THAT(tokenizer->Encode("</s>a", false, true), ElementsAre(2, 260));
}

TEST(Tokenizer, NormalizedAddedTokensAreFoundAfterNormalising) {
  json file = SmallByteLevel();
  file["normalizer"] = {{"type", "Lowercase"}};
  file["added_tokens"] = json::array({{{"content", "HE"}, {"normalized", true}, {"special", false}}});
  const auto tokenizer = LoadOrDie(file);
  EXPECT_THAT(tokenizer->Encode("Hex", false, true), ElementsAre(259, 'x'));
  EXPECT_EQ(tokenizer->Decode(std::vector<int32_t>{259}, false), "he");  // as the package has it
}

TEST(Tokenizer, Lookups) {
  const auto tokenizer = LoadOrDie(SmallByteLevel());
  EXPECT_EQ(tokenizer->vocab_size(), 260);
  EXPECT_EQ(tokenizer->TokenId("<|end|>"), 259);
  EXPECT_EQ(tokenizer->TokenId("Ġhe"), 257);
  EXPECT_EQ(tokenizer->TokenId("nothing"), -1);
  EXPECT_EQ(tokenizer->TokenBytes(257), " he");
  EXPECT_EQ(tokenizer->TokenBytes(0xc3), "\xc3");
  EXPECT_EQ(tokenizer->TokenBytes(259), "<|end|>");
  EXPECT_EQ(tokenizer->TokenBytes(260), "");
  EXPECT_EQ(tokenizer->TokenBytes(-1), "");
  EXPECT_EQ(LoadOrDie(SmallSentencePiece())->TokenBytes(262), " a");
}

TEST(Tokenizer, IdsThatAreNoTokenAreLeftOut) {
  const auto tokenizer = LoadOrDie(SmallByteLevel());
  EXPECT_EQ(tokenizer->Decode(std::vector<int32_t>{'a', -1, 260, 1 << 30, 'b'}, false), "ab");
}

TEST(Tokenizer, NotUtf8IsRepairedFirst) {
  const auto tokenizer = LoadOrDie(SmallByteLevel());
  EXPECT_EQ(tokenizer->Encode("h\xe4\xbd", false, true), tokenizer->Encode("h\uFFFD", false, true));
  EXPECT_EQ(tokenizer->Encode("\xed\xa0\x80", false, true),
            tokenizer->Encode("\uFFFD\uFFFD\uFFFD", false, true));
}

TEST(Detokenizer, NeverCutsACharacter) {
  const auto tokenizer = LoadOrDie(SmallByteLevel());
  Detokenizer stream(*tokenizer, true, {});
  EXPECT_EQ(stream.Add('a'), "a");
  EXPECT_FALSE(stream.holding());
  EXPECT_EQ(stream.Add(0xf0), "");
  EXPECT_TRUE(stream.holding());
  EXPECT_EQ(stream.Add(259), "");  // a special token is left out and settles nothing
  EXPECT_EQ(stream.Add(0x9f), "");
  EXPECT_EQ(stream.Add(0x98), "");
  EXPECT_EQ(stream.Add(0x80), "😀");
  EXPECT_EQ(stream.Add(0xe4), "");
  EXPECT_EQ(stream.Add('b'), "\uFFFDb");
  EXPECT_EQ(stream.Add(0xe4), "");
  EXPECT_EQ(stream.Finish(), "\uFFFD");
}

TEST(Detokenizer, ACharacterOfByteTokensComesWithItsLastByte) {
  const auto tokenizer = LoadOrDie(SmallSentencePiece());
  Detokenizer stream(*tokenizer, true, kSentencePiecePrompt);
  for (const int byte : {0xe1, 0x83}) EXPECT_EQ(stream.Add(3 + byte), "");
  EXPECT_EQ(stream.Add(3 + 0x90), "ა");
  EXPECT_EQ(stream.Add(3 + 0xc3), "");
  EXPECT_EQ(stream.Add(1), "");  // <s>
  EXPECT_EQ(stream.Add(3 + 0xa9), "é");
  EXPECT_FALSE(stream.holding());
  EXPECT_EQ(stream.Add(3 + 0xe1), "");
  EXPECT_TRUE(stream.holding());
  EXPECT_EQ(stream.Finish(), "\uFFFD") << "what is whole stays";
}

TEST(Detokenizer, AWrongByteSpoilsTheRestOfItsRun) {
  const auto tokenizer = LoadOrDie(SmallSentencePiece());
  Detokenizer stream(*tokenizer, true, kSentencePiecePrompt);
  EXPECT_EQ(stream.Add(3 + 'A'), "A");
  EXPECT_EQ(stream.Add(3 + 0xc3), "");
  EXPECT_EQ(stream.Add(3 + 'A'), "\uFFFD\uFFFD");
  EXPECT_EQ(stream.Add(3 + 'A'), "\uFFFD");
  EXPECT_EQ(stream.Add(260), "a");
  EXPECT_EQ(stream.Add(3 + 'A'), "A");
}

TEST(Detokenizer, OnlyTheFirstWordOfAllLosesItsSpace) {
  const auto tokenizer = LoadOrDie(SmallSentencePiece());
  Detokenizer stream(*tokenizer, true, {});
  EXPECT_EQ(stream.Add(262), "a");
  EXPECT_EQ(stream.Add(262), " a");
  EXPECT_EQ(stream.Finish(), "");
  EXPECT_EQ(Detokenizer(*tokenizer, true, kSentencePiecePrompt).Add(262), " a");
  EXPECT_EQ(Detokenizer(*tokenizer, true, std::vector<int32_t>{1}).Add(262), "a") << "a prompt without text";
  EXPECT_EQ(Detokenizer(*tokenizer, false, std::vector<int32_t>{1}).Add(262), " a");
}

TEST(Detokenizer, ATokenMayCompleteTheCharacterThatThePromptBegins) {
  for (const Kind& kind : Kinds()) {
    for (const bool echoes : {false, true}) {
      std::string echo;
      const std::vector<int32_t> prompt = {kind.a, kind.byte(0xc3), kind.byte(0xa9), kind.byte(0xe1)};
      const Detokenizer behind(*kind.tokenizer, true, prompt, echoes ? &echo : nullptr);
      EXPECT_EQ(echo, echoes ? "aé" : "");
      Detokenizer completed = behind, not_completed = behind, ended = behind;
      EXPECT_EQ(completed.Add(kind.byte(0x83)), "");
      EXPECT_EQ(completed.Add(kind.byte(0x90)), "ა");
      // What the prompt decodes to by itself is no text of the continuation.
      EXPECT_EQ(not_completed.Add(kind.a), echoes ? "\uFFFDa" : "a");
      EXPECT_EQ(ended.Finish(), echoes ? "\uFFFD" : "");
    }
  }
}

TEST(Detokenizer, TheCharacterThatStandsForWhatIsNoneMayBeWritten) {
  const auto tokenizer = LoadOrDie(SmallSentencePiece());
  Detokenizer stream(*tokenizer, true, std::vector<int32_t>{1, 262, 3 + 0xef, 3 + 0xbf});
  EXPECT_EQ(stream.Add(3 + 0xbd), "") << "may be the first of the two that the prompt alone ends in";
  EXPECT_TRUE(stream.holding());
  EXPECT_EQ(stream.Add(260), "\uFFFDa");
}

TEST(Detokenizer, ARunInThePromptIsReadToItsEndFirst) {
  const auto tokenizer = LoadOrDie(SmallSentencePiece());
  std::string echo;
  const std::vector<int32_t> spoilt = {1, 262, 3 + 0xc3, 3 + 0xa9, 3 + 0xff};
  Detokenizer stream(*tokenizer, true, spoilt, &echo);
  EXPECT_EQ(echo, tokenizer->Decode(spoilt, true));
  EXPECT_EQ(stream.Add(3 + 'A'), "\uFFFD") << "it goes on behind the prompt";
}

TEST(Detokenizer, ACopyGoesOnFromTheSamePlace) {
  for (const Kind& kind : Kinds()) {
    Detokenizer first(*kind.tokenizer, false, {});
    EXPECT_EQ(first.Add(kind.byte(0xc3)), "");
    Detokenizer copy = first;
    Detokenizer moved = std::move(first);
    EXPECT_EQ(copy.Add(kind.byte(0xa8)), "è");
    EXPECT_EQ(moved.Add(kind.byte(0xa9)), "é");
  }
}

// For any ids the pieces are whole characters and together, behind any prompt, they are Decode of all, prefix
// by prefix, unless there were runs to spoil.
TEST(Detokenizer, AgreesWithDecodeOnRandomIds) {
  std::mt19937 random(11);
  for (const Kind& kind : Kinds()) {
    int equal = 0;
    for (int round = 0; round < 3000; ++round) {
      std::vector<int32_t> ids(random() % 12);
      for (int32_t& id : ids) {
        // Lead and continuation bytes are most likely to go wrong.
        id = static_cast<int32_t>(random() % 2 ? 0x80 + random() % 0x80 : random() % 265);
      }
      const bool skip = random() % 2;
      const std::string whole = kind.tokenizer->Decode(ids, skip);
      const bool must_equal = kind.byte0 == 0 || whole.find("\uFFFD") == std::string::npos;
      equal += must_equal;
      const std::span<const int32_t> all = ids;
      const size_t prompt = random() % (ids.size() + 1);
      std::string joined;
      Detokenizer stream(*kind.tokenizer, skip, all.first(prompt), &joined);
      for (int32_t id : all.subspan(prompt)) {
        const std::string piece = stream.Add(id);
        ASSERT_TRUE(IsUtf8(piece));
        joined += piece;
        ASSERT_TRUE(!must_equal || whole.starts_with(joined));
      }
      joined += stream.Finish();
      ASSERT_TRUE(!must_equal || joined == whole) << whole;
    }
    EXPECT_GT(equal, 300);
  }
}

TEST(Tokenizer, ManyThreadsMayUseOne) {
  const auto tokenizer = LoadOrDie(SmallSentencePiece());
  std::vector<std::string> results(4);
  {
    std::vector<std::jthread> threads;
    for (std::string& result : results) {
      threads.emplace_back([&tokenizer, &result] {
        for (int i = 0; i < 200; ++i)
          result = tokenizer->Decode(tokenizer->Encode("a b é a", true, false), true);
      });
    }
  }
  EXPECT_THAT(results, testing::Each("a b é a"));
}

TEST(Tokenizer, LoadsAFileAndNamesItInErrors) {
  const std::string path = testing::TempDir() + "/hydrad_tokenizer_test.json";
  std::ofstream(path) << SmallByteLevel().dump();
  EXPECT_TRUE(Tokenizer::Load(path).ok());
  std::ofstream(path) << R"({"model": {"type": "WordPiece"}})";
  EXPECT_EQ(Message(Tokenizer::Load(path).status()),
            path + ": model: the model 'WordPiece' is not supported");
  std::filesystem::remove(path);
  EXPECT_EQ(Tokenizer::Load(path).status().code(), absl::StatusCode::kNotFound);
}

TEST(Tokenizer, BrokenFilesAreErrors) {
  EXPECT_THAT(Message(Tokenizer::FromJson("").status()), HasSubstr("not JSON"));
  EXPECT_THAT(Message(Tokenizer::FromJson("{\"model\": ").status()), HasSubstr("not JSON"));
  EXPECT_THAT(Message(Tokenizer::FromJson("\"\\ud800\"").status()), HasSubstr("not JSON"));
  EXPECT_THAT(Message(Tokenizer::FromJson(std::string(1'000'000, '[')).status()), HasSubstr("not JSON"));
  EXPECT_EQ(LoadError(json::array()), ": must be an object, not array");
  EXPECT_EQ(LoadError(json::object()), "model: is missing");
  json file = SmallByteLevel();
  file["decoder"] = {{"type", "CTC"}};
  EXPECT_EQ(LoadError(file), "decoder: the decoder 'CTC' is not supported");
}

// Deep nesting where the loader does not look must not matter either.
TEST(Tokenizer, DeepJsonIsReleasedWithoutRecursion) {
  const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  EXPECT_EQ(Message(Tokenizer::FromJson("{\"x\": " + deep + "}").status()), "model: is missing");
}

}  // namespace
}  // namespace hydrad
