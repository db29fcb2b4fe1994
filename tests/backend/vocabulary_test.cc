#include "server/backend/cpu/vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "kernels/simd/pool.h"
#include "server/backend/cpu/pack_vocabulary.h"
#include "server/backend/cpu/packed_adapter.h"
#include "server/base/invalid_argument.h"
#include "tests/model/adapters.h"

namespace hydrad {
namespace {

using ::testing::HasSubstr;

constexpr AdapterShape kShape{.layers = 2, .hidden = 10, .q_out = 12, .kv_out = 6, .ffn = 17, .vocab = 23};

// A dense matrix with its values.
struct Values {
  Values(int rows, int cols, uint32_t seed)
      : values(static_cast<size_t>(rows) * cols), mat{values.data(), rows, cols, cols} {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> number(-1, 1);
    for (float& value : values) value = number(random);
  }
  std::vector<float> values;
  Mat<float> mat;
};

float At(const HostMatrix& m, int row, int col) {
  return static_cast<const float*>(m.data)[static_cast<size_t>(row) * m.cols + col];
}
const ProjectionWeights& Of(const AdapterWeights& weights, Projection projection) {
  return *std::ranges::find(weights.projections, projection, &ProjectionWeights::projection);
}
std::unique_ptr<PackedAdapter<float>> Pack(const AdapterWeights& weights) {
  auto packed = PackedAdapter<float>::Pack(weights, kShape, PackVocabulary<float>);
  EXPECT_TRUE(packed.ok()) << packed.status();
  return *std::move(packed);
}

// Rows 1 and 2 use one adapter, row 4 another, rows 0 and 3 none.
class VocabularyTest : public ::testing::Test {
 protected:
  VocabularyTest() { batch_.tokens = {3, 7, 3, 7, 22}; }
  void Use(const PackedAdapter<float>* one, const PackedAdapter<float>* other) {
    batch_.runs.push_back({.row_begin = 1, .row_end = 3, .adapter = 0});
    batch_.runs.push_back({.row_begin = 4, .row_end = 5, .adapter = 1});
    for (const PackedAdapter<float>* adapter : {one, other}) {
      ends_.push_back(adapter == nullptr ? nullptr : adapter->vocabulary());
    }
  }
  // That a row holds the same bits as before.
  static void ExpectUntouched(const Values& before, const Values& after, int row) {
    EXPECT_EQ(std::memcmp(before.mat.row(row), after.mat.row(row), sizeof(float) * before.mat.cols), 0)
        << row;
  }

  simd::Pool pool_{2};
  Scratch scratch_;
  Batch batch_;
  std::vector<const Vocabulary<float>*> ends_;
};

TEST_F(VocabularyTest, OwnEmbeddingsStandInForTheBases) {
  const AdapterWeights some = RandomAdapter(1, kShape, {.targets = {}, .embedding_tokens = {22, 7}});
  const AdapterWeights all = RandomAdapter(2, kShape, {.targets = {}, .embedding_tokens = {kAllTokens}});
  const auto one = Pack(some), other = Pack(all);
  Use(one.get(), other.get());
  const Values before(5, kShape.hidden, 9);
  Values out = before;
  out.mat.data = out.values.data();
  AdaptEmbedding<float>(pool_, batch_, ends_, out.mat, scratch_);
  for (const int row : {0, 2, 3})
    ExpectUntouched(before, out, row);  // row 2: token 3, of which it has no row
  for (int k = 0; k < kShape.hidden; ++k) {
    EXPECT_EQ(out.mat.row(1)[k], At(some.embedding.rows, 1, k)) << "token 7 is its second row";
    EXPECT_EQ(out.mat.row(4)[k], At(all.embedding.rows, 22, k));
  }
}

TEST_F(VocabularyTest, EmbeddingsByTheFormula) {
  const AdapterWeights weights = RandomAdapter(1, kShape,
                                               {.rank = 5,
                                                .targets = {Projection::kEmbedding},
                                                .out_scale = true,
                                                .out_bias = true,
                                                .embedding_tokens = {3}});
  const ProjectionWeights& p = Of(weights, Projection::kEmbedding);
  const auto adapter = Pack(weights);
  Use(adapter.get(), nullptr);
  const Values before(5, kShape.hidden, 9);
  Values out = before;
  out.mat.data = out.values.data();
  AdaptEmbedding<float>(pool_, batch_, ends_, out.mat, scratch_);
  for (const int row : {0, 3, 4}) ExpectUntouched(before, out, row);
  for (const int row : {1, 2}) {
    const int token = batch_.tokens[row];
    for (int k = 0; k < kShape.hidden; ++k) {
      const double base = token == 3 ? At(weights.embedding.rows, 0, k) : before.mat.row(row)[k];
      double change = 0, size = std::abs(base) + std::abs(p.out_bias[k]);
      for (int j = 0; j < 5; ++j) {
        change += p.scale[0] * At(p.a[0], j, token) * At(p.b[0], k, j);
        size += std::abs(p.scale[0] * At(p.a[0], j, token) * At(p.b[0], k, j));
      }
      const double expected = p.out_scale[k] * (base + change) + p.out_bias[k];
      EXPECT_NEAR(out.mat.row(row)[k], expected, 10 * 0x1p-24 * 1.5 * size) << row << ", " << k;
    }
  }
}

TEST_F(VocabularyTest, LogitsByTheFormula) {
  const AdapterWeights some = RandomAdapter(
      1, kShape, {.rank = 3, .targets = {Projection::kHead}, .out_scale = true, .head_tokens = {20, 4}});
  const AdapterWeights all = RandomAdapter(2, kShape, {.targets = {}, .head_tokens = {kAllTokens}});
  const ProjectionWeights& p = Of(some, Projection::kHead);
  const auto one = Pack(some), other = Pack(all);
  Use(one.get(), other.get());
  batch_.logit_rows = {0, 2, 3, 4};  // so logit row 1 is the first adapter's, logit row 3 the second's
  const Values x(4, kShape.hidden, 8), before(4, kShape.vocab, 9);
  Values logits = before;
  logits.mat.data = logits.values.data();
  AdaptHead<float>(pool_, batch_, ends_, logits.mat, x.mat, scratch_);
  ExpectUntouched(before, logits, 0);
  ExpectUntouched(before, logits, 2);
  const auto dot = [&](const HostMatrix& m, int n, int row) {
    double sum = 0;
    for (int k = 0; k < kShape.hidden; ++k) sum += At(m, n, k) * x.mat.row(row)[k];
    return sum;
  };
  constexpr double kBound =
      16 * 0x1p-24 * 8;  // 16 roundings of sums whose terms are below 8 in size together
  for (int token = 0; token < kShape.vocab; ++token) {
    EXPECT_NEAR(logits.mat.row(3)[token], dot(all.head.rows, token, 3), kBound) << token;
    double expected = before.mat.row(1)[token];
    if (token == 20 || token == 4) expected = dot(some.head.rows, token == 20 ? 0 : 1, 1);
    for (int j = 0; j < 3; ++j) expected += p.scale[0] * At(p.b[0], token, j) * dot(p.a[0], j, 1);
    EXPECT_NEAR(logits.mat.row(1)[token], p.out_scale[token] * expected, kBound) << token;
  }
}

TEST_F(VocabularyTest, ABiasAloneIsAChangeOfRankZero) {
  AdapterWeights weights;
  ProjectionWeights& p = weights.projections.emplace_back();
  p.projection = Projection::kHead;
  p.a = {HostMatrix{nullptr, DType::kF32, 0, kShape.hidden}};
  p.b = {HostMatrix{nullptr, DType::kF32, kShape.vocab, 0}};
  p.scale = {1};
  for (int token = 0; token < kShape.vocab; ++token) p.out_bias.push_back(0.25f * static_cast<float>(token));
  const auto adapter = Pack(weights);
  Use(adapter.get(), nullptr);
  batch_.logit_rows = {1};
  const Values x(1, kShape.hidden, 8), before(1, kShape.vocab, 9);
  Values logits = before;
  logits.mat.data = logits.values.data();
  AdaptHead<float>(pool_, batch_, ends_, logits.mat, x.mat, scratch_);
  for (int token = 0; token < kShape.vocab; ++token) {
    EXPECT_EQ(logits.mat.row(0)[token], before.mat.row(0)[token] + p.out_bias[token]) << token;
  }
  p.out_bias.clear();
  EXPECT_THAT(
      std::string(PackedAdapter<float>::Pack(weights, kShape, PackVocabulary<float>).status().message()),
      HasSubstr("layer 0 lm_head: has an A of a wrong shape"));
}

// Tokens 23 and 24, which the base lacks, and its own token 4; the other adapter has a matrix of 25 tokens.
TEST_F(VocabularyTest, TokensBeyondTheBases) {
  AdapterShape shape = kShape, wide = kShape;
  shape.more_tokens = 3;
  wide.vocab = 25;
  AdapterWeights some = RandomAdapter(1, wide, {.targets = {}, .embedding_tokens = {24, 4, 23}});
  AdapterWeights all = RandomAdapter(2, wide, {.targets = {}, .embedding_tokens = {kAllTokens}});
  std::vector<std::unique_ptr<PackedAdapter<float>>> packed;
  for (AdapterWeights* weights : {&some, &all}) {
    weights->embedding.vocab = 25;
    weights->head = weights->embedding;
    auto adapter = PackedAdapter<float>::Pack(*weights, shape, PackVocabulary<float>);
    ASSERT_TRUE(adapter.ok()) << adapter.status();
    EXPECT_EQ((*adapter)->vocab(), 25);
    packed.push_back(*std::move(adapter));
  }
  Use(packed[0].get(), packed[1].get());
  batch_.tokens = {3, 24, 23, 7, 24};
  Values out(5, kShape.hidden, 9);
  AdaptEmbedding<float>(pool_, batch_, ends_, out.mat, scratch_);
  for (int k = 0; k < kShape.hidden; ++k) {
    EXPECT_EQ(out.mat.row(1)[k], At(some.embedding.rows, 0, k));
    EXPECT_EQ(out.mat.row(2)[k], At(some.embedding.rows, 2, k));
    EXPECT_EQ(out.mat.row(4)[k], At(all.embedding.rows, 24, k));
  }

  batch_.logit_rows = {0, 2, 4};
  const Values x(3, kShape.hidden, 8), before(3, kShape.vocab + 3, 9);
  Values logits = before;
  logits.mat = {logits.values.data(), 3, kShape.vocab, kShape.vocab + 3};
  AdaptHead<float>(pool_, batch_, ends_, logits.mat, x.mat, scratch_);
  ExpectUntouched(before, logits, 0);
  const auto logit = [&](const HostMatrix& m, int n, int row) {
    double sum = 0;
    for (int k = 0; k < kShape.hidden; ++k) sum += At(m, n, k) * x.mat.row(row)[k];
    return sum;
  };
  for (int token = 0; token < kShape.vocab + 3; ++token) {
    const int row = token == 24 ? 0 : token == 4 ? 1 : token == 23 ? 2 : -1;
    const float was = before.mat.row(1)[token], other = before.mat.row(2)[token];
    EXPECT_NEAR(logits.mat.row(1)[token], row >= 0 ? logit(some.head.rows, row, 1) : was, 1e-5) << token;
    EXPECT_NEAR(logits.mat.row(2)[token], token < 25 ? logit(all.head.rows, token, 2) : other, 1e-5) << token;
  }
}

TEST_F(VocabularyTest, TokensThatCannotBeAreRefused) {
  AdapterShape shape = kShape;
  AdapterWeights weights = RandomAdapter(1, shape, {.targets = {}, .embedding_tokens = {22, 21}});
  weights.embedding.tokens = {23, 24};
  weights.embedding.vocab = 25;
  const auto error = [&] {
    return std::string(PackedAdapter<float>::Pack(weights, shape, PackVocabulary<float>).status().message());
  };
  EXPECT_EQ(error(), "embed_tokens: has a number of tokens that the device does not take");
  shape.more_tokens = 2;
  EXPECT_EQ(error(), "");
  weights.embedding.tokens = {22, 24};
  EXPECT_EQ(error(), "embed_tokens: has tokens beyond the base's without rows");
  weights.embedding.tokens = {23, 24};
  std::swap(weights.embedding, weights.head);
  EXPECT_EQ(error(), "lm_head: has tokens that the embedding lacks");
  std::swap(weights.embedding, weights.head);
  weights.projections = RandomAdapter(2, shape, {.targets = {Projection::kEmbedding}}).projections;
  EXPECT_THAT(error(), HasSubstr("embed_tokens: has a LoRA"));
}

TEST_F(VocabularyTest, RowsAreChargedAndThoseOfBothEndsOnce) {
  const auto bytes = [](const AdapterWeights& weights) {
    return PackedAdapter<bf16>::Bytes(weights, kShape, PackVocabulary<bf16>);
  };
  const size_t none = bytes(RandomAdapter(1, kShape, {}));
  AdapterWeights weights = RandomAdapter(1, kShape, {.embedding_tokens = {kAllTokens}});
  const size_t one = bytes(weights);
  EXPECT_GE(one - none, kShape.vocab * kShape.hidden * sizeof(bf16));
  weights.head = weights.embedding;
  EXPECT_EQ(bytes(weights), one);
  weights.head = RandomAdapter(2, kShape, {.head_tokens = {kAllTokens}}).head;
  const size_t table = one - none;
  EXPECT_GT(bytes(weights), one + table / 2);
}

TEST_F(VocabularyTest, TheEmbeddingTakesOneExpert) {
  for (const RandomAdapterOptions& options :
       {RandomAdapterOptions{.experts = 2, .shared_a = true, .targets = {Projection::kEmbedding}},
        RandomAdapterOptions{.gate = {GateRule::kSoftmax}, .targets = {Projection::kEmbedding}}}) {
    const auto packed =
        PackedAdapter<bf16>::Pack(RandomAdapter(1, kShape, options), kShape, PackVocabulary<bf16>);
    EXPECT_EQ(packed.status(), InvalidArgument("layer 0 embed_tokens: takes one expert"));
  }
}

TEST_F(VocabularyTest, RowsThatDoNotFitAreRefused) {
  const auto error = [](const AdapterWeights& weights) {
    EXPECT_EQ(PackedAdapter<float>::Bytes(weights, kShape, PackVocabulary<float>), 0u);
    return std::string(PackedAdapter<float>::Pack(weights, kShape, PackVocabulary<float>).status().message());
  };
  AdapterWeights weights = RandomAdapter(1, kShape, {.embedding_tokens = {1, 2}});
  weights.embedding.tokens = {1};
  EXPECT_EQ(error(weights), "embed_tokens: has rows of its own of a wrong shape");
  weights.embedding.tokens = {1, 23};
  EXPECT_EQ(error(weights), "embed_tokens: has a row of a token that the model does not have");
  weights.embedding.tokens.clear();
  EXPECT_EQ(error(weights), "embed_tokens: has rows of its own of a wrong shape");
  weights = RandomAdapter(1, kShape, {.head_tokens = {kAllTokens}});
  weights.head.rows.cols = 9;
  EXPECT_EQ(error(weights), "lm_head: has rows of its own of a wrong shape");
}

}  // namespace
}  // namespace hydrad
