#include "server/adapters/formats/moa.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "server/adapters/formats/read_adapter.h"
#include "server/base/status.h"
#include "tests/fakes/adapter_files.h"
#include "tests/fakes/fake_disk.h"

namespace hydrad {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kMaxFile = 1 << 20;
const std::string kQ = std::string(kPrefix) + "0.self_attn.q_proj.";
const std::string kRouter0 = std::string(kPrefix) + "0.moa_router.";

class MoaTest : public testing::Test {
 protected:
  absl::StatusOr<AdapterContents> Read(const AdapterFiles& files) {
    disk_.Put("mix", files.Bytes());
    return ReadAdapter(disk_, "mix", TinyModel().adapter_shape(), kMaxFile);
  }
  std::string Error(const AdapterFiles& files) {
    const auto read = Read(files);
    EXPECT_FALSE(read.ok());
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(read.status().message());
  }

  FakeDisk disk_;
};

std::vector<float> Floats(const FakeTensor& tensor) {
  std::vector<float> values(tensor.bytes.size() / sizeof(float));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

TEST_F(MoaTest, ABundleHoldsEveryExpertAndItsRows) {
  const AdapterFiles files = Moa();
  const auto contents = Read(files);
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->family, "moa");
  EXPECT_EQ(contents->experts, 2);
  EXPECT_EQ(contents->max_rank, 3);
  EXPECT_THAT(contents->targets, ElementsAre("q_proj", "down_proj"));
  ASSERT_EQ(contents->experts_by_name.size(), 2u);
  const ExpertWeights& sums = contents->experts_by_name[1];
  EXPECT_EQ(sums.name, "sums");
  ASSERT_EQ(sums.weights.projections.size(), 4u);
  EXPECT_EQ(sums.weights.projections[0].a[0].rows, 3);
  EXPECT_THAT(sums.weights.projections[0].scale, ElementsAre(2.0f));
  const std::vector<float> rows = Floats(files.tensors.at(kRouter0 + "weight"));
  ASSERT_EQ(sums.router.size(), 16u);
  EXPECT_TRUE(std::equal(rows.begin() + 8, rows.end(), sums.router.begin()));
  ASSERT_EQ(sums.router_bias.size(), 2u);
  EXPECT_EQ(sums.router_bias[0], Floats(files.tensors.at(kRouter0 + "bias"))[1]);
}

TEST_F(MoaTest, AnExpertMayLeaveModulesOutThatNobodyTellsOf) {
  AdapterFiles files = Moa();
  files.config.erase("target_modules");
  files.tensors.erase(kQ + "lora_A.sums.weight");
  files.tensors.erase(kQ + "lora_B.sums.weight");
  const auto contents = Read(files);
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->experts_by_name[0].weights.projections.size(), 4u);
  EXPECT_EQ(contents->experts_by_name[1].weights.projections.size(), 3u);
}

TEST_F(MoaTest, BadBundlesAreRefusedByTensor) {
  const auto with = [](auto change) {
    AdapterFiles files = Moa();
    change(files);
    return files;
  };
  struct Case {
    AdapterFiles files;
    const char* error;
  };
  const Case cases[] = {
      {with([](auto& f) { f.tensors.erase(kQ + "lora_B.sums.weight"); }),
       "q_proj.lora_B.sums.weight': is missing"},
      {with([](auto& f) {
         f.tensors[kQ + "lora_A.jokes.weight"] = MakeTensor("F32", {2, 8}, 1);
       }),
       "q_proj.lora_A.jokes.weight': is not lora_A or lora_B of one of the bundle's experts"},
      {with([](auto& f) {
         f.tensors[kQ + "lora_A.weight"] = MakeTensor("F32", {2, 8}, 1);
       }),
       "q_proj.lora_A.weight': is not lora_A or lora_B of one of the bundle's experts"},
      {with([](auto& f) {
         f.tensors[kQ + "lora_A.sums.weight"] = MakeTensor("F32", {2, 8}, 1);
       }),
       "q_proj.lora_A.sums.weight': shape [2, 8] is not [3, 8]"},
      {with([](auto& f) {
         f.tensors[kRouter0 + "weight"] = MakeTensor("F32", {3, 8}, 1);
       }),
       "0.moa_router.weight': shape [3, 8] is not [2, 8]"},
      {with([](auto& f) { f.tensors[kRouter0 + "bias"] = MakeTensor("F32", {3}, 1); }),
       "0.moa_router.bias': shape [1, 3] is not [1, 2]"},
      {with([](auto& f) { f.tensors.erase(std::string(kPrefix) + "1.moa_router.weight"); }),
       "1.moa_router.weight': is missing"},
      {with([](auto& f) { f.tensors.erase(std::string(kPrefix) + "1.moa_router.bias"); }),
       "1.moa_router.bias': is missing"},
      {with([](auto& f) { f.tensors.erase(kRouter0 + "bias"); }),
       "1.moa_router.bias': is not a router of a layer of the model, or a bias where layer 0 has none"},
      {with([](auto& f) {
         f.tensors[std::string(kPrefix) + "2.moa_router.weight"] = MakeTensor("F32", {2, 8}, 1);
       }),
       "2.moa_router.weight': is not a router of a layer of the model"},
      {with([](auto& f) { f.tensors[kRouter0 + "temperature"] = MakeTensor("F32", {1}, 1); }),
       "0.moa_router.temperature': is not a router of a layer of the model"},
      {with([](auto& f) { f.config["router"]["bias"] = false; }),
       "moa_router: has biases, but the config's router has bias false"},
      {with([](auto& f) {
         f.config["experts"] = {"poems", "sums", "jokes"};
         f.config["r"] = 2;
       }),
       "shape"},
      {with([](auto& f) {
         f.config["peft_type"] = "LORA";
         f.config["r"] = 2;
         for (const char* field : {"experts", "router", "decision"}) f.config.erase(field);
       }),
       "is the router of an MoA, but adapter_config.json has another peft_type"},
  };
  for (const Case& c : cases) EXPECT_THAT(Error(c.files), HasSubstr(c.error)) << &c - cases;
}

TEST_F(MoaTest, ANaNInARouterIsRefused) {
  AdapterFiles files = Moa();
  const uint32_t nan = 0x7fc00000;
  std::memcpy(files.tensors[kRouter0 + "weight"].bytes.data() + 4, &nan, 4);
  EXPECT_THAT(Error(files), HasSubstr("0.moa_router.weight': the value at [0, 1] is NaN or infinite"));
}

TEST_F(MoaTest, WithoutRoutersOnlyTheClientCanDecide) {
  AdapterFiles files = Moa();
  std::erase_if(files.tensors, [](const auto& tensor) { return IsRouterTensor(tensor.first); });
  EXPECT_THAT(Error(files), HasSubstr("there are no routers (moa_router), so the decision must be 'label'"));
  files.config["decision"] = "label";
  const auto contents = Read(files);
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_TRUE(contents->experts_by_name[0].router.empty());
}

// The bundle's "sums" in a directory of its own.
AdapterFiles WithPath(const std::string& path) {
  AdapterFiles files = Moa();
  std::erase_if(files.tensors, [](const auto& t) { return t.first.find(".sums.") != std::string::npos; });
  files.config["expert_paths"] = {{"sums", path}};
  return files;
}

TEST_F(MoaTest, AnExpertsDirectoryIsLookedForInTheAdaptersOwnAndThenInTheRoot) {
  disk_.Put("apart", PlainLora(7).Bytes());
  auto contents = Read(WithPath("apart"));
  ASSERT_TRUE(contents.ok()) << contents.status();
  const std::string digest = contents->digest;
  EXPECT_EQ(contents->experts_by_name[1].weights.projections[0].a[0].rows, 2);
  EXPECT_EQ(contents->experts_by_name[1].router.size(), 16u) << "its row stands in the bundle";
  disk_.Put("mix/apart", PlainLora(8).Bytes());
  contents = Read(WithPath("apart"));
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_NE(contents->digest, digest) << "the expert's files are part of it, and these are others";
}

TEST_F(MoaTest, AnExpertsDirectoryMayBringItsRow) {
  AdapterFiles apart = PlainLora(7);
  AddRouterRows(&apart, 50);
  disk_.Put("apart", apart.Bytes());
  const auto contents = Read(WithPath("apart"));
  ASSERT_TRUE(contents.ok()) << contents.status();
  const std::vector<float> row = Floats(apart.tensors.at(kRouter0 + "weight"));
  EXPECT_TRUE(std::equal(row.begin(), row.end(), contents->experts_by_name[1].router.begin()));
  const auto rows = ReadMoaComponent(disk_, "mix", ComponentInfo::Kind::kRouters, "",
                                     TinyModel().adapter_shape(), kMaxFile);
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ(rows->experts_by_name[1].router, contents->experts_by_name[1].router);
}

TEST_F(MoaTest, WhereEveryExpertIsApartTheBundleMayBeMissing) {
  AdapterFiles files = WithPath("b");
  files.config["expert_paths"]["poems"] = "a";
  AdapterFiles a = PlainLora(7), b = PlainLora(8);
  AddRouterRows(&a, 50);
  disk_.Put("a", a.Bytes());
  disk_.Put("b", b.Bytes());
  auto bytes = files.Bytes();
  bytes.erase("adapter_model.safetensors");
  disk_.Put("mix", bytes);
  const auto contents = ReadAdapter(disk_, "mix", TinyModel().adapter_shape(), kMaxFile);
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_FALSE(contents->experts_by_name[0].router.empty());
  EXPECT_TRUE(contents->experts_by_name[1].router.empty()) << "reached by its label alone";
}

TEST_F(MoaTest, BadExpertDirectoriesAreRefusedWithTheirPath) {
  EXPECT_EQ(Read(WithPath("apart")).status(), NotFound("apart: no such directory under the adapter root"));
  disk_.Put("apart", Hydra().Bytes());
  EXPECT_THAT(Error(WithPath("apart")),
              HasSubstr("apart/adapter_config.json: an expert of an MoA must be a plain LoRA"));
  disk_.Put("apart", Moa().Bytes());
  EXPECT_THAT(Error(WithPath("apart")),
              HasSubstr("apart/adapter_config.json: an expert of an MoA must be a plain LoRA"));
  AdapterFiles rows;
  rows.config = PlainLora().config;
  AddRouterRows(&rows, 1);
  disk_.Put("apart", rows.Bytes());
  EXPECT_THAT(Error(WithPath("apart")), HasSubstr("apart/adapter_model.safetensors: holds no lora tensors"));
  AdapterFiles narrow = PlainLora();
  narrow.config["r"] = 3;
  disk_.Put("apart", narrow.Bytes());
  EXPECT_THAT(Error(WithPath("apart")), HasSubstr("apart/adapter_model.safetensors: tensor"));
  AdapterFiles still = WithPath("apart");
  disk_.Put("apart", PlainLora().Bytes());
  still.tensors[kQ + "lora_A.sums.weight"] = MakeTensor("F32", {3, 8}, 1);
  EXPECT_THAT(Error(still), HasSubstr("lora_A.sums.weight': is not lora_A or lora_B of one of the bundle's"));
}

TEST_F(MoaTest, EveryFailedReadIsAnError) {
  disk_.Put("apart", PlainLora(7).Bytes());
  ASSERT_TRUE(Read(WithPath("apart")).ok());
  const int calls = [&] {
    disk_.FailCall(0);
    EXPECT_TRUE(Read(WithPath("apart")).ok());
    return disk_.calls();
  }();
  for (int call = 1; call <= calls; ++call) {
    disk_.FailCall(call);
    const auto read = ReadAdapter(disk_, "mix", TinyModel().adapter_shape(), kMaxFile);
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInternal) << call;
  }
}

}  // namespace
}  // namespace hydrad
