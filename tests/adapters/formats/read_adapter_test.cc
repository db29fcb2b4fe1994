#include "server/adapters/formats/read_adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/adapters/formats/adapter_directory.h"  // kMaxConfigBytes
#include "server/base/invalid_argument.h"
#include "server/base/sha256.h"
#include "server/base/status.h"
#include "tests/fakes/adapter_files.h"
#include "tests/fakes/fake_disk.h"

namespace hydrad {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kMaxFile = 1 << 20;

absl::StatusOr<AdapterContents> Read(const FakeDisk::Files& files, uint64_t max_file_bytes = kMaxFile) {
  FakeDisk disk;
  disk.Put("some/where", files);
  return ReadAdapter(disk, "some/where", TinyModel().adapter_shape(), max_file_bytes);
}
absl::Status StatusOf(const FakeDisk::Files& files) { return Read(files).status(); }

TEST(ReadAdapter, DescribesWhatItRead) {
  const auto contents = Read(PlainLora().Bytes());
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->family, "lora");
  EXPECT_EQ(contents->max_rank, 2);
  EXPECT_EQ(contents->experts, 1);
  EXPECT_THAT(contents->targets, ElementsAre("q_proj", "down_proj"));
}

TEST(ReadAdapter, DigestIsOverBothFilesOneAfterTheOther) {
  const FakeDisk::Files files = PlainLora().Bytes();
  const std::string both = files.at("adapter_config.json") + files.at("adapter_model.safetensors");
  EXPECT_EQ(Read(files)->digest, "sha256:" + Hex(Sha256::Of(both)));
  EXPECT_NE(Read(PlainLora(2).Bytes())->digest, Read(files)->digest);
}

TEST(ReadAdapter, OtherFilesAreNotOpened) {
  AdapterFiles files = PlainLora();
  files.extra = {{"README.md", "text"}, {"adapter_model.bin", "a pickle"}, {"tokenizer.json", "{}"}};
  EXPECT_EQ(Read(files.Bytes())->digest, Read(PlainLora().Bytes())->digest);
}

TEST(ReadAdapter, MatricesOutliveEverythingButTheWeights) {
  AdapterWeights weights = Read(PlainLora(1, "F16").Bytes())->weights;
  const auto* values = static_cast<const float*>(weights.projections[0].a[0].data);
  for (int i = 0; i < 16; ++i)
    EXPECT_GE(values[i], 1);  // as MakeTensor made them; read from freed memory otherwise
}

// A file may be of gigabytes.
TEST(ReadAdapter, ABadHeaderIsRefusedBeforeTheRestIsRead) {
  FakeDisk::Files files = PlainLora().Bytes();
  std::string& tensors = files.at("adapter_model.safetensors");
  const size_t sound = tensors.size();
  tensors.append(900'000, 'x');  // behind the last tensor
  FakeDisk disk;
  disk.SetChunk(sound);
  disk.Put("a", files);
  const auto read = ReadAdapter(disk, "a", TinyModel().adapter_shape(), kMaxFile);
  EXPECT_THAT(std::string(read.status().message()), HasSubstr("900000 bytes after the last tensor"));
  EXPECT_LT(disk.calls(), 10) << "of " << tensors.size() / sound << " and more for all of it";
}

TEST(ReadAdapter, MissingFilesAreNotFound) {
  FakeDisk::Files files = PlainLora().Bytes();
  files.erase("adapter_config.json");
  EXPECT_EQ(StatusOf(files), NotFound("some/where/adapter_config.json: no such file"));
  files = PlainLora().Bytes();
  files.erase("adapter_model.safetensors");
  EXPECT_EQ(StatusOf(files), NotFound("some/where/adapter_model.safetensors: no such file"));
  FakeDisk disk;
  EXPECT_EQ(ReadAdapter(disk, "none", TinyModel().adapter_shape(), kMaxFile).status(),
            NotFound("none: no such directory under the adapter root"));
  EXPECT_EQ(ReadAdapter(disk, "../a", TinyModel().adapter_shape(), kMaxFile).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ReadAdapter, PicklesAreNamedAndNeverOpened) {
  for (const char* name :
       {"adapter_model.bin", "adapter_model.pth", "adapter_model.pt", "pytorch_model.bin"}) {
    FakeDisk::Files files = PlainLora().Bytes();
    files.erase("adapter_model.safetensors");
    files[name] = "a pickle";
    EXPECT_EQ(
        StatusOf(files),
        InvalidArgument(
            "some/where/adapter_model.safetensors: no such file, but {} is there: pickle files are never "
            "opened; convert to safetensors",
            name));
  }
}

TEST(ReadAdapter, OtherFamiliesDirectoriesAreNamed) {
  EXPECT_THAT(std::string(StatusOf({{"xlora_config.json", "{}"}}).message()), HasSubstr("X-LoRA"));
  FakeDisk::Files files = PlainLora().Bytes();
  files.erase("adapter_model.safetensors");
  files["moe_args.pth"] = "";
  EXPECT_THAT(std::string(StatusOf(files).message()), HasSubstr("MLLM-HydraLoRA"));
}

TEST(ReadAdapter, SizesAreBounded) {
  FakeDisk::Files files = PlainLora().Bytes();
  const size_t size = files.at("adapter_model.safetensors").size();
  EXPECT_TRUE(Read(files, size).ok());
  EXPECT_EQ(
      Read(files, size - 1).status(),
      InvalidArgument("some/where/adapter_model.safetensors: is of {} bytes, more than the {} that are read",
                      size, size - 1));
  files["adapter_config.json"] += std::string(kMaxConfigBytes, ' ');
  EXPECT_THAT(std::string(StatusOf(files).message()),
              HasSubstr("some/where/adapter_config.json: is of 1048"));
}

TEST(ReadAdapter, ErrorsAreOnePrintableLineOfBoundedLength) {
  AdapterFiles files = PlainLora();
  files.tensors["evil\n\x1b[31m\xc3\xa4" + std::string(100'000, 'x')] = MakeTensor("F32", {1}, 1);
  const std::string error(StatusOf(files.Bytes()).message());
  EXPECT_THAT(error, HasSubstr("tensor 'evil\\x0a\\x1b[31m\\xc3\\xa4xxx"));
  EXPECT_LT(error.size(), 700);
}

}  // namespace
}  // namespace hydrad
