// Adapters that are broken in one way each: every one is refused, with an error that names file, tensor or
// field, and reason, and leaves a store that goes on serving.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>

#include "tests/adapters/store/store_fixture.h"
#include "tests/fakes/tiny_base.h"

namespace hydrad {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kConfig[] = "bad/adapter_config.json: ";
constexpr char kFile[] = "bad/adapter_model.safetensors: ";
const std::string kQ = "base_model.model.model.layers.0.self_attn.q_proj.";
const std::string kDown = "base_model.model.model.layers.1.mlp.down_proj.";

struct BadAdapter {
  const char* name;
  AdapterFiles (*good)();
  std::function<void(AdapterFiles&)> breaks;
  std::string file;    // the error begins with it
  std::string reason;  // and holds this
};

AdapterFiles Lora() { return PlainLora(); }
AdapterFiles LoraBf16() { return PlainLora(1, "BF16"); }
AdapterFiles LoraF16() { return PlainLora(1, "F16"); }
AdapterFiles HydraLora() { return Hydra(); }
AdapterFiles LoraMoe() { return Hydra(1, false); }

// Sets a field of the config.
auto Set(const char* field, Json value) {
  return [field, value](AdapterFiles& files) { files.config[field] = value; };
}
auto SetBoth(const char* field, Json value, const char* other, Json value_of_other) {
  return [=](AdapterFiles& files) {
    files.config[field] = value;
    files.config[other] = value_of_other;
  };
}
void AloraOfAWholeModule(AdapterFiles& files) {
  files.config["alora_invocation_tokens"] = {1};
  files.config["modules_to_save"] = {"lm_head"};
  files.tensors["base_model.model.lm_head.weight"] = MakeTensor("F32", {11, 8}, 9);
}
void LoraOfTrainedTokens(AdapterFiles& files) {
  const std::string embedding = "base_model.model.model.embed_tokens.";
  files.config["trainable_token_indices"] = {3};
  files.tensors[embedding + "token_adapter.trainable_tokens_delta"] = MakeTensor("F32", {1, 8}, 9);
  files.tensors[embedding + "lora_embedding_A"] = MakeTensor("F32", {2, 11}, 9);
  files.tensors[embedding + "lora_embedding_B"] = MakeTensor("F32", {8, 2}, 9);
}
auto Erase(const std::string& tensor) {
  return [tensor](AdapterFiles& files) { ASSERT_EQ(files.tensors.erase(tensor + ".weight"), 1) << tensor; };
}
auto Add(const std::string& tensor, std::vector<int64_t> shape, const char* dtype = "F32") {
  return [=](AdapterFiles& files) { files.tensors[tensor] = MakeTensor(dtype, shape, 9); };
}
// Writes a word over the value at `index` of a tensor.
template <class Word>
auto Poke(const std::string& tensor, size_t index, Word word) {
  return [=](AdapterFiles& files) {
    std::memcpy(files.tensors.at(tensor + ".weight").bytes.data() + index * sizeof(word), &word,
                sizeof(word));
  };
}
// Changes the bytes of the tensor file.
auto Bytes(std::function<void(std::string&)> change) {
  return [change](AdapterFiles& files) {
    std::string bytes = SafetensorsBytes(files.tensors);
    change(bytes);
    files.extra["adapter_model.safetensors"] = bytes;
  };
}
// Replaces the text once in the header of the tensor file; both have the same length.
auto Header(const std::string& from, const std::string& to) {
  return Bytes([from, to](std::string& bytes) {
    const size_t at = bytes.find(from);
    ASSERT_TRUE(at != std::string::npos && from.size() == to.size()) << from;
    bytes.replace(at, from.size(), to);
  });
}
std::string Tensor(const std::string& tensor, const std::string& reason) {
  return "tensor '" + tensor + ".weight': " + reason;
}

const std::vector<BadAdapter>& BadAdapters() {
  static const std::vector<BadAdapter> table = {
      {"MissingB", Lora, Erase(kQ + "lora_B"), kFile, Tensor(kQ + "lora_B", "is missing")},
      {"MissingA", Lora, Erase(kDown + "lora_A"), kFile, Tensor(kDown + "lora_A", "is missing")},
      {"WrongRank", Lora, Set("r", 3), kFile, Tensor(kQ + "lora_A", "shape [2, 8] is not [3, 8]")},
      {"TransposedA", Lora, Add(kQ + "lora_A.weight", {8, 2}), kFile,
       Tensor(kQ + "lora_A", "shape [8, 2] is not [2, 8]")},
      {"OfAnotherBaseModel", Lora, Add(kDown + "lora_B.weight", {4096, 2}), kFile,
       Tensor(kDown + "lora_B", "shape [4096, 2] is not [8, 2]")},
      {"FlatTensor", Lora, Add(kQ + "lora_A.weight", {16}), kFile,
       Tensor(kQ + "lora_A", "shape [16] is not [2, 8]")},
      {"LayerOutside", Lora, Add("base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight", {2, 8}),
       kFile, "layers.2.self_attn.q_proj.lora_A.weight': layer 2 is outside of the model's 2 layers"},
      {"UnknownModule", Lora, Add("base_model.model.model.layers.0.self_attn.x_proj.lora_A.weight", {2, 8}),
       kFile, "x_proj.lora_A.weight': unexpected name"},
      {"NoPrefix", Lora, Add("model.layers.0.self_attn.q_proj.lora_A.weight", {2, 8}), kFile,
       "tensor 'model.layers.0.self_attn.q_proj.lora_A.weight': unexpected name"},
      {"LeftOverPart", Lora, Add(kQ + "lora_C.weight", {2, 8}), kFile,
       Tensor(kQ + "lora_C", "is not of a plain LoRA")},
      {"NanF32", Lora, Poke(kQ + "lora_A", 9, std::numeric_limits<float>::quiet_NaN()), kFile,
       Tensor(kQ + "lora_A", "the value at [1, 1] is NaN or infinite")},
      {"InfinityF32", Lora, Poke(kDown + "lora_B", 15, -std::numeric_limits<float>::infinity()), kFile,
       Tensor(kDown + "lora_B", "the value at [7, 1] is NaN or infinite")},
      {"NanBf16", LoraBf16, Poke<uint16_t>(kQ + "lora_A", 0, 0x7fc0), kFile,
       Tensor(kQ + "lora_A", "the value at [0, 0] is NaN or infinite")},
      {"InfinityF16", LoraF16, Poke<uint16_t>(kQ + "lora_A", 15, 0x7c00), kFile,
       Tensor(kQ + "lora_A", "the value at [1, 7] is NaN or infinite")},
      {"Doubles", Lora, Header("\"F32\",\"shape\":[2,8],", "\"F64\",\"shape\":[2,4],"), kFile,
       "dtype F64 is not F32, BF16 or F16"},
      {"Dora", Lora, Add(kQ + "lora_magnitude_vector", {12}), kFile,
       "lora_magnitude_vector': is of DoRA, but adapter_config.json does not set use_dora"},
      {"DoraWithoutMagnitudes", Lora, Set("use_dora", true), kFile,
       "q_proj.lora_magnitude_vector': is missing"},
      {"DoraWithABiasOfB", Lora, SetBoth("use_dora", true, "lora_bias", true), kConfig,
       "field 'lora_bias': does not go with use_dora"},
      {"BiasOfB", Lora, Add(kQ + "lora_B.bias", {12}), kFile,
       "lora_B.bias': is there, but adapter_config.json does not set lora_bias"},
      {"BiasOfBMissing", Lora, Set("lora_bias", true), kFile, "q_proj.lora_B.bias': is missing"},
      {"BiasOfBaseWithoutOne", Lora, Add(kQ + "bias", {12}), kFile,
       "q_proj.bias': the base model has no bias there"},
      {"BiasOfBaseOfAnotherSize", Lora, Add(kQ + "base_layer.bias", {8}), kFile,
       "q_proj.base_layer.bias': shape [8] is not [12]"},
      {"WeightOfBase", Lora, Add(kQ + "base_layer.weight", {12, 8}), kFile,
       "weights of the base model are not supported, but those of embed_tokens and lm_head"},
      {"LmHeadOfAnotherSize", Lora, Add("base_model.model.lm_head.weight", {4, 8}), kFile,
       "tensor 'base_model.model.lm_head.weight': shape [4, 8] is not [11, 8]"},
      {"LmHeadHalf", Lora, Add("base_model.model.lm_head.lora_A.weight", {2, 8}), kFile,
       "lm_head.lora_B.weight': is missing"},
      {"Embedding", Lora, Add("base_model.model.model.embed_tokens.lora_embedding_A", {2, 4}), kFile,
       "embed_tokens.lora_embedding_B': is missing"},
      {"EmbeddingAsALinearLayer", Lora, Add("base_model.model.model.embed_tokens.lora_A.weight", {2, 11}),
       kFile, "embed_tokens.lora_A.weight': is not of a plain LoRA"},
      {"Norm", Lora, Add("base_model.model.model.norm.weight", {8}), kFile,
       "trained norms are not supported"},
      {"ModuleToSaveMissing", Lora, Set("modules_to_save", {"lm_head"}), kFile,
       "tensor 'base_model.model.lm_head.weight': is missing"},
      {"ModuleToSaveOfAClassifier", Lora, Set("modules_to_save", {"score"}), kConfig,
       "field 'modules_to_save': 'score' as a whole is not supported"},
      {"TrainedTokensMissing", Lora, Set("trainable_token_indices", {3}), kFile,
       "embed_tokens.token_adapter.trainable_tokens_delta': is missing"},
      {"TrainedTokenTwice", Lora, Set("trainable_token_indices", {3, 3}), kConfig,
       "field 'trainable_token_indices': token 3 is given twice"},
      {"LoraOfTrainedTokens", Lora, LoraOfTrainedTokens, kFile,
       "embed_tokens.lora_embedding_A': a LoRA of what has trained or added tokens is not supported"},
      {"InvocationOutside", Lora, Set("alora_invocation_tokens", {11}), kFile,
       "token 11 of alora_invocation_tokens is outside of the 11 tokens"},
      {"InvocationOfWholeModules", Lora, AloraOfAWholeModule, kFile,
       "an aLoRA with trained biases, embeddings or matrices of its own is not supported"},
      {"Pissa", Lora, Set("init_lora_weights", "pissa"), kConfig,
       "field 'init_lora_weights': 'pissa' may have changed the base model's weights"},
      {"XLora", Lora, Set("peft_type", "XLORA"), kConfig,
       "field 'peft_type': X-LoRA adapters are not supported"},
      {"MixLora", Lora, Set("peft_type", "MIXLORA"), kConfig,
       "field 'peft_type': MixLoRA adapters are not supported"},
      {"Moa", Lora, Set("peft_type", "MOA"), kConfig, "field 'experts': must be a list of 1 to 256 names"},
      {"NoRank", Lora, [](AdapterFiles& files) { files.config.erase("r"); }, kConfig,
       "field 'r': must be an integer from 1"},
      {"NotJson", Lora, [](AdapterFiles& files) { files.extra["adapter_config.json"] = "{\"r\": 2,}"; },
       kConfig, "is not JSON at byte 9"},
      {"BadPattern", Lora, Set("rank_pattern", {{"q_proj(", 2}}), kConfig,
       "field 'rank_pattern': pattern 'q_proj(' is not a regular expression"},
      {"CostlyPattern", Lora, Set("rank_pattern", {{"(([a-z_.0-9]+)*)*[XY]", 2}}), kFile,
       "rank_pattern of adapter_config.json: pattern '(([a-z_.0-9]+)*)*[XY]' costs too much to match"},
      {"NoTensors", Lora, [](AdapterFiles& files) { files.tensors.clear(); }, kFile, "holds no tensors"},
      {"EmptyFile", Lora, Bytes([](std::string& bytes) { bytes.clear(); }), kFile, "file of 0 bytes"},
      {"TruncatedData", Lora, Bytes([](std::string& bytes) { bytes.pop_back(); }), kFile, "tensor '"},
      {"TrailingByte", Lora, Bytes([](std::string& bytes) { bytes.push_back('x'); }), kFile, ""},
      {"HeaderBeyondTheFile", Lora, Bytes([](std::string& bytes) { bytes[3] = 1; }), kFile, "header of"},
      {"HugeHeader", Lora, Bytes([](std::string& bytes) { bytes[7] = 1; }), kFile, "is larger than 8000000"},
      {"PickleAsSafetensors", Lora, Bytes([](std::string& bytes) { bytes = "PK\x03\x04 archive/data.pkl"; }),
       kFile, "is a pickle of torch in a zip"},
      {"HydraWithoutLoraNums", HydraLora, [](AdapterFiles& files) { files.config.erase("lora_nums"); }, kFile,
       "is of HydraLoRA or LoRAMoE, but adapter_config.json has no lora_nums"},
      {"HydraHeadMissing", HydraLora, Erase(kQ + "lora_B1"), kFile, Tensor(kQ + "lora_B1", "is missing")},
      {"HydraHeadTooMany", HydraLora, Add(kQ + "lora_B3.weight", {12, 2}), kFile,
       Tensor(kQ + "lora_B3", "does not belong to the 3 experts")},
      {"HydraHeadWithALeadingZero", HydraLora, Add(kQ + "lora_B00.weight", {12, 2}), kFile,
       Tensor(kQ + "lora_B00", "does not belong to the 3 experts")},
      {"HydraRouterMissing", HydraLora, Erase(kQ + "lora_route"), kFile,
       Tensor(kQ + "lora_route", "is missing")},
      {"HydraRouterOfFourHeads", HydraLora, Add(kQ + "lora_route.weight", {4, 8}), kFile,
       Tensor(kQ + "lora_route", "shape [4, 8] is not [3, 8]")},
      {"HydraRouterNan", HydraLora, Poke(kQ + "lora_route", 23, std::numeric_limits<float>::quiet_NaN()),
       kFile, Tensor(kQ + "lora_route", "the value at [2, 7] is NaN or infinite")},
      {"HydraAMissing", HydraLora, Erase(kQ + "lora_A"), kFile, Tensor(kQ + "lora_A", "is missing")},
      {"MllmHydra", HydraLora, Add("base_model.model.model.layers.0.mlp.shared_LoRA_A_gate.weight", {2, 8}),
       kFile, "shared_LoRA_A_gate.weight': MLLM-HydraLoRA adapters are not supported"},
      {"LoraMoeAMissing", LoraMoe, Erase(kDown + "lora_A2"), kFile, Tensor(kDown + "lora_A2", "is missing")},
  };
  return table;
}

class BadAdaptersTest : public StoreFixture, public ::testing::WithParamInterface<int> {
 protected:
  const TinyBase base_{TinyModel()};
};

TEST_P(BadAdaptersTest, IsRefusedByNameAndHarmsNobody) {
  const BadAdapter& bad = BadAdapters()[GetParam()];
  AdapterFiles files = bad.good();
  disk_.Put("bad", files.Bytes());
  const auto store = MakeStore({.base = base_.shared()});
  ASSERT_TRUE(Load(*store, "good", "bad").ok()) << "before it is broken";
  const uint64_t used = store->device_bytes_used();
  bad.breaks(files);
  disk_.Put("bad", files.Bytes());

  for (const char* name : {"good", "fresh"}) {  // as a replace and as a first load
    const absl::Status status = Load(*store, name, "bad").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), StartsWith(bad.file));
    EXPECT_THAT(std::string(status.message()), HasSubstr(bad.reason));
  }
  EXPECT_EQ(store->device_bytes_used(), used);
  EXPECT_EQ(Bound(*store, "good").generation(), 1);
  EXPECT_EQ(store->Get("fresh")->state, AdapterState::kFailed);
}

INSTANTIATE_TEST_SUITE_P(All, BadAdaptersTest, ::testing::Range(0, static_cast<int>(BadAdapters().size())),
                         [](const auto& info) { return BadAdapters()[info.param].name; });

}  // namespace
}  // namespace hydrad
