#include "server/model/model_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "server/backend/cpu/cpu_backend.h"
#include "server/model/base_weights.h"
#include "server/model/transformer.h"
#include "server/model/weights.h"
#include "tests/model/model_files.h"

namespace hydrad {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kTied[] = "tests/golden/models/llama";

// A copy of a model whose config ties lm_head to the embedding.
class Copy {
 public:
  Copy() {
    for (const char* name : {"config.json", "model.safetensors"}) {
      std::filesystem::copy(std::string(kTied) + "/" + name, dir_.path());
    }
  }
  const std::string& path() const { return dir_.path(); }
  TensorFiles tensors() const { return ReadTensors(path() + "/model.safetensors"); }
  void Write(const TensorFiles& tensors) const { WriteTensors(path() + "/model.safetensors", tensors); }

 private:
  TempDir dir_;
};

TEST(HasHeadOfItsOwn, IsSoWhereTheValuesDiffer) {
  const Copy copy;
  const ModelConfig tied = *LoadModelConfig(copy.path());
  EXPECT_TRUE(tied.tied_embeddings);
  TensorFiles tensors = copy.tensors();
  tensors["lm_head.weight"] = tensors.at("model.embed_tokens.weight");
  copy.Write(tensors);
  EXPECT_TRUE(LoadModelConfig(copy.path())->tied_embeddings);  // the same twice
  tensors["lm_head.weight"].bytes.back() ^= 1;
  copy.Write(tensors);
  EXPECT_TRUE(*HasHeadOfItsOwn(copy.path(), tied));
  EXPECT_FALSE(LoadModelConfig(copy.path())->tied_embeddings);
  tensors.erase("model.embed_tokens.weight");
  copy.Write(tensors);
  EXPECT_FALSE(*HasHeadOfItsOwn(copy.path(), tied));
}

// Through the door of the room: what multiplies the hidden states is the head of the file.
TEST(HasHeadOfItsOwn, DecidesWhatTheModelUses) {
  const Copy copy;
  TensorFiles tensors = copy.tensors();
  tensors["lm_head.weight"] = tensors.at("model.embed_tokens.weight");
  std::string& bytes = tensors["lm_head.weight"].bytes;
  std::memset(bytes.data(), 0, bytes.size());
  copy.Write(tensors);
  const auto backend = MakeCpuBackend({.threads = 1});
  const auto model = LoadTransformer(copy.path(), *backend, {});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_FALSE((*model)->config().adapter_shape().tied);
  const auto base = BaseWeights::Open(copy.path(), (*model)->config());
  ASSERT_TRUE(base.ok()) << base.status();
  std::string head;
  const absl::Status shown = (*base)->Visit("lm_head", [&](int, const HostMatrix& block) {
    head.append(static_cast<const char*>(block.data),
                BytesOf(static_cast<size_t>(block.rows) * block.cols, block.dtype));
  });
  EXPECT_TRUE(shown.ok()) << shown;
  EXPECT_EQ(head, bytes);
}

TEST(ModelDirectory, SaysWhatIsThereInstead) {
  const std::pair<const char*, const char*> kCases[] = {
      {"model-q4.gguf", "hydrad-tools model import"},
      {"pytorch_model.bin", "safetensors"},
      {"pytorch_model-00001-of-00002.bin", "safetensors"},
      {"adapter_config.json", "adapter"},
      {"consolidated.safetensors", "Mistral's own names"},
      {"model-00001-of-00002.safetensors", "model.safetensors.index.json"},
      {"weights.npz", "MLX"},
  };
  for (const auto& [name, what] : kCases) {
    const TempDir dir;
    dir.Write(name, "x");
    EXPECT_THAT(std::string(LoadModelConfig(dir.path()).status().message()),
                AllOf(HasSubstr("config.json"), HasSubstr(name), HasSubstr(what)));
    std::filesystem::copy(std::string(kTied) + "/config.json", dir.path());
    const auto backend = MakeCpuBackend({.threads = 1});
    const absl::Status weights = LoadTransformer(dir.path(), *backend, {}).status();
    EXPECT_THAT(std::string(weights.message()),
                AllOf(HasSubstr("model.safetensors"), HasSubstr(name), HasSubstr(what)));
  }
}

TEST(ModelDirectory, MayBeAFile) {
  const TempDir dir;
  dir.Write("a.gguf", "GGUF");
  dir.Write("b.safetensors", "x");
  EXPECT_THAT(std::string(LoadModelConfig(dir.path() + "/a.gguf").status().message()),
              HasSubstr("hydrad-tools model import"));
  EXPECT_THAT(std::string(LoadModelConfig(dir.path() + "/b.safetensors").status().message()),
              HasSubstr("is a file, where a model's directory is expected"));
}

TEST(ModelDirectory, NamesAPointerOrAPageInPlaceOfWeights) {
  const TempDir dir;
  std::filesystem::copy(std::string(kTied) + "/config.json", dir.path());
  dir.Write("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n");
  EXPECT_THAT(std::string(LoadModelConfig(dir.path()).status().message()),
              AllOf(HasSubstr("model.safetensors"), HasSubstr("git-lfs pointer")));
  dir.Write("model.safetensors", "<html><body>404</body></html>");
  EXPECT_THAT(std::string(LoadModelConfig(dir.path()).status().message()), HasSubstr("HTML page"));
}

}  // namespace
}  // namespace hydrad
