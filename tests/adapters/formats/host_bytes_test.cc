#include "server/adapters/formats/host_bytes.h"

#include <gtest/gtest.h>

#include "server/adapters/store/host_component.h"
#include "tests/fakes/adapter_files.h"
#include "tests/fakes/fake_disk.h"
#include "tests/fakes/tiny_base.h"

namespace hydrad {
namespace {

class HostBytesTest : public testing::Test {
 protected:
  AdapterContents Read(const AdapterFiles& files, const BaseWeights* base = nullptr) {
    disk_.Put("a", files.Bytes());
    auto contents = ReadAdapter(disk_, "a", TinyModel().adapter_shape(), 1 << 20, base);
    EXPECT_TRUE(contents.ok()) << contents.status();
    return *std::move(contents);
  }
  uint64_t Bound() { return *HostBytesToRead(disk_, "a", 1 << 20); }
  uint64_t FileBytes(const std::string& directory) {
    const auto file = (*disk_.OpenDirectory(directory))->OpenFile("adapter_model.safetensors");
    return (*file)->size();
  }

  FakeDisk disk_;
};

TEST_F(HostBytesTest, APlainAdapterTakesItsFile) {
  const AdapterContents contents = Read(PlainLora());
  EXPECT_EQ(contents.host_bytes, FileBytes("a"));
  EXPECT_EQ(Bound(), FileBytes("a"));
}

TEST_F(HostBytesTest, HalvesAreWidenedBesideIt) {
  const AdapterContents contents = Read(PlainLora(1, "F16"));
  uint64_t floats = 0;
  for (const auto& [name, tensor] : PlainLora(1, "F16").tensors) floats += tensor.bytes.size() / 2;
  EXPECT_EQ(contents.host_bytes, FileBytes("a") + 4 * floats);
  EXPECT_EQ(Bound(), contents.host_bytes);
}

// q_proj has 12 outputs and down_proj 8, in 2 layers.
TEST_F(HostBytesTest, WhatIsWorkedOutForADoraCounts) {
  AdapterFiles files = PlainLora();
  files.config["use_dora"] = true;
  for (const std::string layer : {"0.", "1."}) {
    files.tensors[kPrefix + layer + "self_attn.q_proj.lora_magnitude_vector"] = MakeTensor("F32", {12}, 1);
    files.tensors[kPrefix + layer + "mlp.down_proj.lora_magnitude_vector"] = MakeTensor("F32", {8}, 2);
  }
  const TinyBase base(TinyModel());
  const AdapterContents contents = Read(files, base.weights());
  EXPECT_EQ(contents.host_bytes, FileBytes("a") + VectorBytes(contents.weights));
  EXPECT_GE(VectorBytes(contents.weights), 2 * (12 + 8) * sizeof(float));
  EXPECT_GE(Bound(), contents.host_bytes);
}

TEST_F(HostBytesTest, ABiasOfLoraCounts) {
  AdapterFiles files = PlainLora(1, "BF16");
  files.config["lora_bias"] = true;
  for (const std::string layer : {"0.", "1."}) {
    files.tensors[kPrefix + layer + "self_attn.q_proj.lora_B.bias"] = MakeTensor("BF16", {12}, 1);
    files.tensors[kPrefix + layer + "mlp.down_proj.lora_B.bias"] = MakeTensor("BF16", {8}, 2);
  }
  const AdapterContents contents = Read(files);
  EXPECT_EQ(contents.host_bytes, FileBytes("a") + 2 * (12 + 8) * sizeof(float));
  EXPECT_GE(Bound(), contents.host_bytes);
}

// A bundle goes when its experts have been taken out of it: what stays is their numbers and the rows.
TEST_F(HostBytesTest, AnMoaTakesWhatItsComponentsDo) {
  const AdapterFiles files = Moa();
  const AdapterContents contents = Read(files);
  uint64_t numbers = 0;
  for (const auto& [name, tensor] : files.tensors) numbers += tensor.bytes.size();
  EXPECT_EQ(contents.host_bytes, numbers);
  EXPECT_GE(Bound(), FileBytes("a") + contents.host_bytes) << "while it is taken apart";
  uint64_t components = 0;
  for (const LoadedComponent& read : TakeApart("a", contents)) components += read.info.host_bytes;
  EXPECT_EQ(components, contents.host_bytes);
}

TEST_F(HostBytesTest, AnExpertsDirectoryTakesItsFile) {
  AdapterFiles files = MoaOf({{"poems", 1}, {"sums", 2}});
  std::erase_if(files.tensors, [](const auto& t) { return t.first.find(".sums.") != std::string::npos; });
  files.config["expert_paths"] = {{"sums", "apart"}};
  disk_.Put("apart", PlainLora().Bytes());
  const AdapterContents contents = Read(files);
  EXPECT_EQ(contents.expert_host_bytes[1], FileBytes("apart"));
  EXPECT_GE(Bound(), FileBytes("apart") + FileBytes("a"));
}

TEST_F(HostBytesTest, WhatCannotBeReadTakesNothing) {
  EXPECT_EQ(*HostBytesToRead(disk_, "none", 1 << 20), 0u);
  disk_.Put("a", {{"adapter_config.json", "{}"}});
  EXPECT_EQ(Bound(), 0u);
  disk_.Put("a", PlainLora().Bytes());
  EXPECT_EQ(*HostBytesToRead(disk_, "a", 10), 0u) << "it is too large";
  disk_.FailCall(1);
  EXPECT_EQ(HostBytesToRead(disk_, "a", 1 << 20).status().code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace hydrad
