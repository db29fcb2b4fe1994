#include "server/adapters/formats/own_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "server/adapters/formats/read_adapter.h"
#include "server/backend/host_rows.h"
#include "tests/fakes/fake_disk.h"
#include "tests/fakes/tiny_base.h"

namespace hydrad {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kEmbedding = "base_model.model.model.embed_tokens.";
const std::string kHead = "base_model.model.lm_head.";

ModelConfig Model(bool tied, bool bias = false) {
  ModelConfig model = TinyModel();
  model.tied_embeddings = tied;
  model.qkv_bias = bias;
  return model;
}

// PlainLora on a base model, with what a test adds to it.
class OwnRowsTest : public ::testing::TestWithParam<bool> {
 protected:
  absl::StatusOr<AdapterContents> Read() {
    disk_.Put("a", files_.Bytes());
    AdapterShape shape = model_.adapter_shape();
    shape.more_tokens = more_tokens_;
    return ReadAdapter(disk_, "a", shape, 1 << 20, base_.weights());
  }
  // The base's matrix of that name, cut or with rows of others behind it.
  FakeTensor BaseWith(const std::string& name, int64_t rows) {
    const FakeTensor& base = base_.tensor(name);
    FakeTensor tensor = MakeTensor("F32", {rows, 8}, 99);
    std::memcpy(tensor.bytes.data(), base.bytes.data(), std::min(tensor.bytes.size(), base.bytes.size()));
    return tensor;
  }
  std::string HeadName() const { return tied_ ? "model.embed_tokens.weight" : "lm_head.weight"; }
  // That `rows` are rows `from`, ... of `tensor`.
  static void ExpectRows(const TokenRows& rows, const FakeTensor& tensor, const std::vector<int32_t>& from) {
    ASSERT_EQ(rows.rows.rows, static_cast<int>(from.size()));
    std::vector<float> all = ValuesOf(tensor), own(from.size() * 8);
    CopyRows(rows.rows, 0, rows.rows.rows, own.data());
    for (size_t i = 0; i < own.size(); ++i)
      EXPECT_EQ(own[i], all[static_cast<size_t>(from[i / 8]) * 8 + i % 8]) << i;
  }
  AdapterContents Good() {
    auto read = Read();
    EXPECT_TRUE(read.ok()) << read.status();
    return read.ok() ? *std::move(read) : AdapterContents();
  }
  std::string Error() { return std::string(Read().status().message()); }

  const FakeTensor& Add(const std::string& name, std::vector<int64_t> shape, uint32_t seed = 5) {
    return files_.tensors[name] = MakeTensor("F32", std::move(shape), seed);
  }
  static bool Holds(const TokenRows& rows, const FakeTensor& tensor) {
    return rows.rows.data != nullptr && rows.rows.rows == tensor.shape[0] &&
           rows.rows.cols == tensor.shape[1] &&
           std::memcmp(rows.rows.data, tensor.bytes.data(), tensor.bytes.size()) == 0;
  }
  static bool None(const TokenRows& rows) { return rows.rows.data == nullptr; }

  const bool tied_ = GetParam();
  int more_tokens_ = 0;
  const ModelConfig model_ = Model(tied_);
  const TinyBase base_{model_};
  AdapterFiles files_ = PlainLora();
  FakeDisk disk_;
};

TEST_P(OwnRowsTest, PlainLoraHasNone) {
  const AdapterContents contents = Good();
  EXPECT_TRUE(None(contents.weights.embedding) && None(contents.weights.head));
  EXPECT_THAT(contents.targets, ElementsAre("q_proj", "down_proj"));
}

TEST_P(OwnRowsTest, SavedModulesAreTakenWholeAndOneDoesNotFollowTheOther) {
  files_.config["modules_to_save"] = {"embed_tokens"};
  for (const char* spelling : {"weight", "modules_to_save.weight"}) {
    files_.tensors.erase(kEmbedding + "weight");
    const FakeTensor& own = Add(kEmbedding + spelling, {11, 8});
    const AdapterContents contents = Good();
    EXPECT_TRUE(Holds(contents.weights.embedding, own)) << spelling;
    EXPECT_THAT(contents.weights.embedding.tokens, IsEmpty());
    EXPECT_TRUE(None(contents.weights.head)) << "PEFT breaks the tie";
    EXPECT_THAT(contents.targets, ElementsAre("q_proj", "down_proj", "embed_tokens"));
    files_.tensors.erase(kEmbedding + spelling);
  }
}

TEST_P(OwnRowsTest, SavedModulesOfBothEnds) {
  files_.config["modules_to_save"] = {"embed_tokens", "lm_head"};
  const FakeTensor& embedding = Add(kEmbedding + "weight", {11, 8}, 5);
  const FakeTensor& head = Add(kHead + "weight", {11, 8}, 6);
  const AdapterContents contents = Good();
  EXPECT_TRUE(Holds(contents.weights.embedding, embedding));
  EXPECT_TRUE(Holds(contents.weights.head, head));
}

TEST_P(OwnRowsTest, EnsuredTyingMakesTheHeadFollow) {
  files_.config["modules_to_save"] = {"embed_tokens"};
  files_.config["ensure_weight_tying"] = true;
  const FakeTensor& own = Add(kEmbedding + "weight", {11, 8});
  const AdapterContents contents = Good();
  EXPECT_EQ(Holds(contents.weights.head, own), tied_);

  files_.tensors[kHead + "weight"] = own;  // as PEFT writes both
  const AdapterContents both = Good();
  EXPECT_TRUE(Holds(both.weights.head, own));
  EXPECT_EQ(both.weights.head.rows.data == both.weights.embedding.rows.data, tied_) << "held once";
}

TEST_P(OwnRowsTest, ASavedBaseMatrixIsReadOverWhereItIsTheSame) {
  files_.tensors[kEmbedding + "base_layer.weight"] = base_.tensor("model.embed_tokens.weight");
  const AdapterContents same = Good();
  EXPECT_TRUE(None(same.weights.embedding) && None(same.weights.head));

  const FakeTensor& other = Add(kEmbedding + "base_layer.weight", {11, 8});
  const AdapterContents differs = Good();
  EXPECT_TRUE(Holds(differs.weights.embedding, other));
  EXPECT_EQ(Holds(differs.weights.head, other), tied_) << "there is one matrix in a tied base";
}

TEST_P(OwnRowsTest, ASavedBaseMatrixOfTheHead) {
  const FakeTensor& other = Add(kHead + "weight", {11, 8});
  const AdapterContents contents = Good();
  EXPECT_TRUE(Holds(contents.weights.head, other));
  EXPECT_EQ(Holds(contents.weights.embedding, other), tied_);
}

TEST_P(OwnRowsTest, TrainedTokensHoldForATiedHead) {
  files_.config["trainable_token_indices"] = {10, 0, 4};
  const FakeTensor& own = Add(kEmbedding + "token_adapter.trainable_tokens_delta", {3, 8});
  const AdapterContents contents = Good();
  EXPECT_TRUE(Holds(contents.weights.embedding, own));
  EXPECT_THAT(contents.weights.embedding.tokens, ElementsAre(10, 0, 4));
  EXPECT_EQ(Holds(contents.weights.head, own), tied_);
}

TEST_P(OwnRowsTest, TrainedTokensOfEachEnd) {
  files_.config["trainable_token_indices"] = {{"embed_tokens", {2}}, {"lm_head", {3, 1}}};
  const FakeTensor& embedding = Add(kEmbedding + "token_adapter.trainable_tokens_delta", {1, 8}, 5);
  const FakeTensor& head = Add(kHead + "token_adapter.trainable_tokens_delta", {2, 8}, 6);
  const AdapterContents contents = Good();
  EXPECT_TRUE(Holds(contents.weights.embedding, embedding));
  EXPECT_TRUE(Holds(contents.weights.head, head));
  EXPECT_THAT(contents.weights.head.tokens, ElementsAre(3, 1));
}

TEST_P(OwnRowsTest, EqualTokensOfBothEndsOfATiedBaseAreStoredOnce) {
  files_.config["trainable_token_indices"] = {{"embed_tokens", {2}}, {"lm_head", {2}}};
  Add(kEmbedding + "token_adapter.trainable_tokens_delta", {1, 8}, 5);
  if (tied_) {
    EXPECT_FALSE(None(Good().weights.head));
  } else {
    EXPECT_THAT(Error(), HasSubstr("lm_head.token_adapter.trainable_tokens_delta': is missing"));
  }
}

TEST_P(OwnRowsTest, TrainedTokensMayLieBeyondTheBases) {
  more_tokens_ = 3;
  files_.config["trainable_token_indices"] = {12, 4, 11};
  const FakeTensor& own = Add(kEmbedding + "token_adapter.trainable_tokens_delta", {3, 8});
  const AdapterContents contents = Good();
  EXPECT_TRUE(Holds(contents.weights.embedding, own));
  EXPECT_EQ(contents.weights.embedding.vocab, 13);
  EXPECT_EQ(contents.weights.head.vocab, tied_ ? 13 : 0) << "what has no row in lm_head is read, never drawn";
  EXPECT_FALSE(contents.traits.linear);

  files_.config["trainable_token_indices"] = {13, 4, 11};
  EXPECT_THAT(Error(), HasSubstr("token 12 has no row, though token 13 has one"));
  files_.config["trainable_token_indices"] = {14, 4, 11};
  EXPECT_THAT(Error(), HasSubstr("token 14 of trainable_token_indices is outside of the 14 tokens"));
}

TEST_P(OwnRowsTest, OfAnEnlargedMatrixTheNewRowsAreKept) {
  more_tokens_ = 2;
  const FakeTensor embedding = BaseWith("model.embed_tokens.weight", 13), head = BaseWith(HeadName(), 13);
  for (const bool saved : {false, true}) {
    if (saved) files_.config["modules_to_save"] = {"embed_tokens", "lm_head"};
    files_.tensors[kEmbedding + "weight"] = embedding;
    files_.tensors[kHead + "weight"] = head;
    if (saved) files_.tensors[kHead + "modules_to_save.weight"] = head;  // PEFT says all of it again
    if (saved) files_.tensors[kHead + "original_module.weight"] = head;
    const AdapterContents contents = Good();
    for (const TokenRows* own : {&contents.weights.embedding, &contents.weights.head}) {
      EXPECT_THAT(own->tokens, ElementsAre(11, 12));
      EXPECT_EQ(own->vocab, 13);
    }
    ExpectRows(contents.weights.embedding, embedding, {11, 12});
    ExpectRows(contents.weights.head, head, {11, 12});
  }
  files_.tensors[kHead + "weight"] = files_.tensors[kHead + "modules_to_save.weight"] =
      BaseWith(HeadName(), 14);
  EXPECT_THAT(Error(), HasSubstr("has 14 tokens: this device takes 2 beyond the 11 of the base"));
}

TEST_P(OwnRowsTest, TrainedTokensStandOverAnEnlargedMatrix) {
  more_tokens_ = 2;
  files_.config["trainable_token_indices"] = {12, 4};
  const FakeTensor matrix = BaseWith("model.embed_tokens.weight", 13);
  files_.tensors[kEmbedding + "token_adapter.base_layer.weight"] = matrix;
  const FakeTensor& trained = Add(kEmbedding + "token_adapter.trainable_tokens_delta", {2, 8});
  if (tied_) {
    files_.tensors[kHead + "token_adapter.base_layer.weight"] = matrix;
    files_.tensors[kHead + "token_adapter.trainable_tokens_delta"] = trained;
  }
  const AdapterContents contents = Good();
  const TokenRows& own = contents.weights.embedding;
  EXPECT_THAT(own.tokens, ElementsAre(4, 11, 12));
  EXPECT_EQ(own.vocab, 13);
  ExpectRows({{}, {own.rows.data, own.rows.dtype, 1, 8}}, trained, {1});
  EXPECT_EQ(contents.weights.head.rows.data == own.rows.data, tied_);
  if (!tied_) return;
  files_.tensors[kHead + "token_adapter.trainable_tokens_delta"] = MakeTensor("F32", {2, 8}, 77);
  EXPECT_THAT(Error(), HasSubstr("differs from the embedding's, to which the base model ties lm_head"));
}

TEST_P(OwnRowsTest, OfAMatrixThatIsMostlyTheBasesTheOthersAreKept) {
  FakeTensor matrix = BaseWith("model.embed_tokens.weight", 11);
  for (const size_t row : {9, 2}) matrix.bytes[row * 8 * sizeof(float)] ^= 1;
  files_.config["modules_to_save"] = {"embed_tokens"};
  files_.tensors[kEmbedding + "weight"] = matrix;
  const AdapterContents contents = Good();
  EXPECT_THAT(contents.weights.embedding.tokens, ElementsAre(2, 9));
  ExpectRows(contents.weights.embedding, matrix, {2, 9});
  EXPECT_EQ(contents.weights.embedding.vocab, 0);
}

TEST_P(OwnRowsTest, AMatrixMayLackThePaddingOfTheBases) {
  const FakeTensor embedding = BaseWith("model.embed_tokens.weight", 9), head = BaseWith(HeadName(), 9);
  files_.tensors[kEmbedding + "weight"] = embedding;
  files_.tensors[kHead + "weight"] = head;
  EXPECT_THAT(Error(), HasSubstr("shape [9, 8] is not [11, 8]: this device takes no other tokens"));
  more_tokens_ = 1;
  const AdapterContents contents = Good();
  EXPECT_EQ(contents.weights.embedding.vocab, 0);
  EXPECT_EQ(contents.weights.head.vocab, 9) << "the others are never drawn";
  EXPECT_TRUE(None(contents.weights.embedding) && None(contents.weights.head));
}

TEST_P(OwnRowsTest, ALoraOfAnEnlargedEmbeddingIsRefused) {
  more_tokens_ = 2;
  files_.tensors[kEmbedding + "weight"] = BaseWith("model.embed_tokens.weight", 13);
  files_.config["target_modules"].push_back("embed_tokens");
  Add(kEmbedding + "lora_embedding_A", {2, 11});
  Add(kEmbedding + "lora_embedding_B", {8, 2});
  EXPECT_THAT(Error(), HasSubstr("a LoRA of what has trained or added tokens is not supported"));
}

TEST_P(OwnRowsTest, WhatIsBrokenIsNamed) {
  const AdapterFiles good = files_;
  files_.config["modules_to_save"] = {"lm_head"};
  EXPECT_THAT(Error(), HasSubstr("tensor 'base_model.model.lm_head.weight': is missing"));
  Add(kHead + "weight", {12, 8});
  EXPECT_THAT(Error(), HasSubstr("lm_head.weight': shape [12, 8] is not [11, 8]"));
  Add(kHead + "weight", {11, 8});
  Add(kHead + "modules_to_save.weight", {11, 8}, 6);
  EXPECT_THAT(Error(), HasSubstr("is there as 'base_model.model.lm_head.modules_to_save.weight' too"));

  files_ = good;
  Add(kEmbedding + "token_adapter.trainable_tokens_delta", {1, 8});
  EXPECT_THAT(Error(), HasSubstr("trainable_token_indices of adapter_config.json tells no tokens for it"));
  files_.config["trainable_token_indices"] = {11};
  EXPECT_THAT(Error(), HasSubstr("token 11 of trainable_token_indices is outside of the 11 tokens"));
  files_.config["trainable_token_indices"] = {1, 2};
  EXPECT_THAT(Error(), HasSubstr("trainable_tokens_delta': shape [1, 8] is not [2, 8]"));
}

TEST_P(OwnRowsTest, BaseMatricesNeedABaseToCompareWith) {
  Add(kHead + "base_layer.weight", {11, 8});
  disk_.Put("a", files_.Bytes());
  const absl::Status status = ReadAdapter(disk_, "a", model_.adapter_shape(), 1 << 20).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
}

INSTANTIATE_TEST_SUITE_P(Bases, OwnRowsTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Tied" : "Untied"; });

// Trained biases. The two spellings are those of PEFT before and after it had base layers.
TEST(TakeOwnBias, IsTheDifferenceToTheBases) {
  const ModelConfig model = Model(false, /*bias=*/true);
  const TinyBase base(model);
  const std::string k = std::string(kPrefix) + "1.self_attn.k_proj.",
                    q = std::string(kPrefix) + "0.self_attn.q_proj.";
  for (const char* spelling : {"bias", "base_layer.bias"}) {
    AdapterFiles files = PlainLora();
    files.config["bias"] = "all";
    files.tensors[k + spelling] = MakeTensor("F32", {6}, 5);  // of a module without a LoRA
    files.tensors[q + spelling] = MakeTensor("F32", {12}, 6);
    FakeDisk disk;
    disk.Put("a", files.Bytes());
    const auto contents = ReadAdapter(disk, "a", model.adapter_shape(), 1 << 20, base.weights());
    ASSERT_TRUE(contents.ok()) << contents.status();
    const auto& projections = contents->weights.projections;
    ASSERT_EQ(projections.size(), 5u);
    const auto expect = [&](const ProjectionWeights& p, const std::string& key, const std::string& of_base) {
      const auto own = ValuesOf(files.tensors.at(key + spelling)), theirs = ValuesOf(base.tensor(of_base));
      ASSERT_EQ(p.out_bias.size(), own.size());
      for (size_t i = 0; i < own.size(); ++i) EXPECT_EQ(p.out_bias[i], own[i] - theirs[i]) << i;
    };
    EXPECT_EQ(projections[0].projection, Projection::kQ);
    expect(projections[0], q, "model.layers.0.self_attn.q_proj.bias");
    EXPECT_EQ(projections[3].projection, Projection::kK);
    expect(projections[3], k, "model.layers.1.self_attn.k_proj.bias");
    EXPECT_EQ(contents->max_rank, 2);
    EXPECT_THAT(contents->targets, ElementsAre("q_proj", "k_proj", "down_proj"));
  }
}

}  // namespace
}  // namespace hydrad
