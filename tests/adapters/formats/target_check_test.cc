// Adapters whose config and tensors do not tell of the same modules.
#include "server/adapters/formats/target_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "server/adapters/formats/base_name.h"
#include "tests/adapters/formats/read_files.h"
#include "tests/fakes/fake_disk.h"

namespace hydrad {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

AdapterFiles Without(AdapterFiles files, const std::string& text) {
  EXPECT_GT(
      std::erase_if(files.tensors, [&](const auto& t) { return t.first.find(text) != std::string::npos; }),
      0);
  return files;
}

// Every family's adapter: two modules in each of two layers.
std::vector<AdapterFiles> EveryFamily() {
  return {PlainLora(), Hydra(), Hydra(1, false), MoePeft("MOLA"), MoePeft("LORAMOE"), AdaMole(), Moa()};
}

TEST(CheckTargets, AWholeAdapterOfAnyFamilyIsTaken) {
  for (const AdapterFiles& files : EveryFamily()) {
    for (const bool lenient : {false, true}) {
      const auto contents = Read(files, lenient);
      ASSERT_TRUE(contents.ok()) << contents.status();
      EXPECT_THAT(contents->warnings, IsEmpty());
    }
  }
}

// What a save that was cut off leaves.
TEST(CheckTargets, HalfOfTheLayersIsRefusedByName) {
  for (const AdapterFiles& whole : EveryFamily()) {
    AdapterFiles half = whole;
    std::erase_if(half.tensors, [](const auto& t) {
      return t.first.find("layers.1.") != std::string::npos &&
             t.first.find("moa_router") == std::string::npos;
    });
    EXPECT_THAT(Error(half), AllOf(HasSubstr("2 of the 4 modules that target_modules names have no tensors"),
                                   HasSubstr("model.layers.1.self_attn.q_proj, model.layers.1.mlp.down_proj"),
                                   HasSubstr("lenient")))
        << whole.config;
    const auto lenient = Read(half, true);
    ASSERT_TRUE(lenient.ok()) << lenient.status();
    EXPECT_THAT(lenient->targets, ElementsAre("q_proj", "down_proj"));
    for (const std::string& warning : lenient->warnings) {
      EXPECT_THAT(warning,
                  AllOf(HasSubstr("model.layers.1.mlp.down_proj"), HasSubstr("left as in the base model")));
    }
    EXPECT_EQ(lenient->warnings.size(), std::max<size_t>(1, lenient->experts_by_name.size()));
  }
}

TEST(CheckTargets, ATargetWithoutTensorsIsRefusedByName) {
  for (const AdapterFiles& whole : EveryFamily()) {
    EXPECT_THAT(Error(Without(whole, "down_proj")),
                HasSubstr("model.layers.0.mlp.down_proj, model.layers.1.mlp"));
  }
  AdapterFiles more = PlainLora();
  more.config["target_modules"] = "all-linear";
  EXPECT_THAT(Error(more), AllOf(HasSubstr("10 of the 14 modules"),
                                 HasSubstr("model.layers.0.self_attn.k_proj"), HasSubstr("and 7 more")));
  more.config["target_modules"] = {"q_proj", "down_proj", "lm_head"};
  EXPECT_THAT(Error(more),
              HasSubstr("1 of the 5 modules that target_modules names have no tensors: lm_head"));
  more.config["modules_to_save"] = {"lm_head"};  // which goes before target_modules
  more.tensors["base_model.model.lm_head.weight"] = MakeTensor("F32", {11, 8}, 9);
  EXPECT_TRUE(Read(more).ok()) << Error(more);
}

TEST(CheckTargets, TensorsThatNobodyTellsOfAreRefusedByName) {
  for (AdapterFiles files : EveryFamily()) {
    files.config["target_modules"] = {"down_proj"};
    EXPECT_THAT(Error(files),
                AllOf(HasSubstr("2 modules have tensors"), HasSubstr("does not name"),
                      HasSubstr("model.layers.0.self_attn.q_proj, model.layers.1.self_attn.q_proj")))
        << files.config;
    const auto lenient = Read(files, true);
    ASSERT_TRUE(lenient.ok()) << lenient.status();
    EXPECT_THAT(lenient->targets, ElementsAre("down_proj"));
    EXPECT_THAT(lenient->warnings.front(), HasSubstr("dropped"));
  }
  AdapterFiles layers = PlainLora();
  layers.config["layers_to_transform"] = {1};
  EXPECT_THAT(Error(layers), HasSubstr("model.layers.0.self_attn.q_proj, model.layers.0.mlp.down_proj"));
  AdapterFiles both = PlainLora();
  both.config["target_modules"] = {"q_proj", "v_proj"};
  EXPECT_THAT(Error(both), AllOf(HasSubstr("2 of the 4 modules"), HasSubstr("; 2 modules have tensors")));
}

// What is dropped changes nothing: the rest is as if it had not been there.
TEST(CheckTargets, ALenientReadingIsThatOfTheRest) {
  AdapterFiles files = PlainLora();
  files.config["target_modules"] = {"q_proj"};
  files.config["layers_to_transform"] = {1};
  const auto lenient = Read(files, true);
  ASSERT_TRUE(lenient.ok()) << lenient.status();
  const auto rest = Read(Without(Without(files, "layers.0."), "down_proj"));
  ASSERT_TRUE(rest.ok()) << rest.status();
  ASSERT_EQ(lenient->weights.projections.size(), 1);
  ASSERT_EQ(rest->weights.projections.size(), 1);
  EXPECT_EQ(lenient->weights.projections[0].layer, 1);
  EXPECT_EQ(lenient->weights.projections[0].projection, Projection::kQ);
}

TEST(CheckTargets, NothingIsNotServed) {
  AdapterFiles files = PlainLora();
  files.config["target_modules"] = {"v_proj"};
  const auto lenient = Read(files, true);
  EXPECT_THAT(std::string(lenient.status().message()), HasSubstr("nothing would be left"));
}

TEST(CheckTargets, OtherModulesAreDroppedLeniently) {
  AdapterFiles files = PlainLora();
  files.tensors["base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight"] =
      MakeTensor("F32", {2, 8}, 9);
  files.tensors["base_model.model.vision.layers.0.q_proj.lora_A.weight"] = MakeTensor("F32", {2, 8}, 9);
  EXPECT_FALSE(Read(files).ok());
  const auto lenient = Read(files, true);
  ASSERT_TRUE(lenient.ok()) << lenient.status();
  EXPECT_THAT(lenient->warnings,
              ElementsAre(AllOf(StartsWith("2 tensors are of modules that the model does not have"),
                                HasSubstr("vision"), HasSubstr("dropped"))));
  // Other families, half a pair and weights of the base stay refused.
  for (const char* key : {"base_model.internal_xlora_classifier.layers.0.lora_x.weight",
                          "base_model.model.model.layers.0.self_attn.q_proj.lora_C.weight",
                          "base_model.model.model.layers.0.self_attn.q_proj.weight"}) {
    AdapterFiles foreign = PlainLora();
    foreign.tensors[key] = MakeTensor("F32", {2, 8}, 9);
    EXPECT_FALSE(Read(foreign, true).ok()) << key;
  }
  AdapterFiles half = PlainLora();
  half.tensors.erase("base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight");
  EXPECT_THAT(std::string(Read(half, true).status().message()), HasSubstr("lora_B.weight': is missing"));
}

// The LoRA of a tied embedding is lm_head's too, and both are in the file.
TEST(CheckTargets, TiedEndsAreToldTogether) {
  AdapterFiles files = PlainLora();
  files.config["target_modules"] = {"q_proj", "down_proj", "embed_tokens"};
  const std::string embedding = "base_model.model.model.embed_tokens.", head = "base_model.model.lm_head.";
  files.tensors[embedding + "lora_embedding_A"] = MakeTensor("F32", {2, 11}, 9);
  files.tensors[embedding + "lora_embedding_B"] = MakeTensor("F32", {8, 2}, 9);
  files.tensors[head + "lora_A.weight"] = MakeTensor("F32", {2, 8}, 9);
  files.tensors[head + "lora_B.weight"] = MakeTensor("F32", {11, 2}, 9);
  EXPECT_THAT(Error(files), HasSubstr("1 modules have tensors that target_modules does not name: lm_head"));
  files.config["ensure_weight_tying"] = true;
  EXPECT_FALSE(Read(files).ok());
  ModelConfig tied = TinyModel();
  tied.tied_embeddings = true;
  FakeDisk disk;
  disk.Put("a", files.Bytes());
  const auto contents = ReadAdapter(disk, "a", tied.adapter_shape(), 1 << 20);
  EXPECT_TRUE(contents.ok()) << contents.status();
}

TEST(CheckTargets, ErrorsAreBounded) {
  AdapterFiles files = PlainLora();
  files.config["target_modules"] = ".*";
  AdapterShape deep = TinyModel().adapter_shape();
  deep.layers = 1000;
  FakeDisk disk;
  disk.Put("a", files.Bytes());
  const absl::Status status = ReadAdapter(disk, "a", deep, 1 << 20).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("6998 of the 7002 modules"));
  EXPECT_LT(status.message().size(), 600);
}

TEST(ReadAdapter, TellsWhatItWasTrainedOn) {
  AdapterFiles files = PlainLora();
  EXPECT_EQ(Read(files)->base_model, "");
  files.config["base_model_name_or_path"] = "meta-llama/Llama-3.2-1B";
  EXPECT_EQ(Read(files)->base_model, "meta-llama/Llama-3.2-1B");
}

// VeLoRA is a way to train: what it saves besides counts for nothing.
TEST(ReadAdapter, ReadsOverVelora) {
  AdapterFiles files = PlainLora();
  for (const char* module :
       {"0.self_attn.q_proj", "0.mlp.down_proj", "1.self_attn.q_proj", "1.mlp.down_proj"}) {
    files.tensors[kPrefix + std::string(module) + ".lora_velora_embed"] = MakeTensor("F32", {2}, 9);
  }
  files.config["velora_config"] = {{"num_groups", 4}, {"scale", 1.0}, {"init_type", "batch_average_once"}};
  const auto contents = Read(files);
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->weights.projections.size(), 4);
}

TEST(ReadAdapter, SaysThatNamesHoldTheAdaptersOwn) {
  for (const char* name : {"default", "sql"}) {
    AdapterFiles files = PlainLora();
    std::map<std::string, FakeTensor> named;
    for (const auto& [key, tensor] : files.tensors) {
      named[key.substr(0, key.size() - 7) + "." + name + ".weight"] = tensor;
    }
    files.tensors = named;
    EXPECT_THAT(Error(files), AllOf(HasSubstr("save_pretrained"), HasSubstr(std::string("'.") + name + "'")));
  }
  AdapterFiles files = PlainLora();
  files.tensors["base_model.model.lm_head.modules_to_save.default.weight"] = MakeTensor("F32", {11, 8}, 9);
  EXPECT_THAT(Error(files), HasSubstr("save_pretrained"));
}

TEST(ReadAdapter, SaysWhatLiesInTheDirectory) {
  const std::pair<const char*, const char*> kCases[] = {
      {"adapter_model.safetensors.index.json", "merge the shards"},
      {"adapters.safetensors", "mlx-lm"},
      {"pytorch_lora_weights.safetensors", "diffusers"},
      {"model.safetensors", "save_pretrained"},
      {"adapter_model.bin", "pickle"},
  };
  for (const auto& [name, what] : kCases) {
    FakeDisk disk;
    FakeDisk::Files files = PlainLora().Bytes();
    files.erase("adapter_model.safetensors");
    files[name] = "x";
    disk.Put("a", files);
    const absl::Status status = ReadAdapter(disk, "a", TinyModel().adapter_shape(), 1 << 20).status();
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(name), HasSubstr(what)));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  }
  const std::pair<const char*, const char*> kContents[] = {
      {"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n", "git lfs pull"},
      {"<!DOCTYPE html><html><body>Access denied</body></html>", "HTML page"},
  };
  for (const char* file : {"adapter_config.json", "adapter_model.safetensors"}) {
    for (const auto& [bytes, what] : kContents) {
      AdapterFiles files = PlainLora();
      files.extra[file] = bytes;
      EXPECT_THAT(Error(files), AllOf(HasSubstr(file), HasSubstr(what)));
    }
  }
  AdapterFiles mlx = PlainLora();
  mlx.config = {
      {"fine_tune_type", "lora"}, {"lora_parameters", {{"rank", 8}, {"scale", 20.0}}}, {"num_layers", 16}};
  EXPECT_THAT(Error(mlx), HasSubstr("mlx-lm"));
}

TEST(BaseName, IsTheLastWordOfANameOrPath) {
  for (const char* name :
       {"SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct", "/models/smollm2-135m-instruct/",
        "/root/.cache/huggingface/hub/models--HuggingFaceTB--SmolLM2-135M-Instruct/snapshots/"
        "12fd25f77366fa6b3b4b768ec3050bf629380bac",
        "models--HuggingFaceTB--SmolLM2-135M-Instruct/snapshots/main/", "./SmolLM2_135M_Instruct"}) {
    EXPECT_EQ(BaseName(name), "smollm2135minstruct") << name;
  }
  for (const char* name : {"", ".", "..", "/", "./", "--"}) EXPECT_EQ(BaseName(name), "") << name;
  EXPECT_TRUE(IsNameOf({"tiny", "/models/hydrad-tiny"}, "org/Hydrad-Tiny"));
  EXPECT_FALSE(IsNameOf({"tiny"}, "org/hydrad-tiny"));
  EXPECT_FALSE(IsNameOf({"Llama-3.1-8B"}, "meta-llama/Llama-3.1-8B-Instruct"));
  EXPECT_TRUE(IsNameOf({}, "any"));
  EXPECT_TRUE(IsNameOf({"tiny"}, ""));
}

}  // namespace
}  // namespace hydrad
