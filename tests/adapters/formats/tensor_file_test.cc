#include "server/adapters/formats/tensor_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "server/base/foreign_content.h"
#include "tests/fakes/adapter_files.h"
#include "tests/fakes/fake_disk.h"

namespace hydrad {
namespace {

class TensorFileTest : public testing::Test {
 protected:
  TensorFileTest() {
    for (const char* name : {"a", "b", "c"}) tensors_[name] = MakeTensor("F32", {3, 5}, *name);
    Put(SafetensorsBytes(tensors_));
  }
  void Put(std::string bytes) {
    disk_.Put("d", {{"f", std::move(bytes)}});
    file_ = *(*disk_.OpenDirectory("d"))->OpenFile("f");
  }

  std::map<std::string, FakeTensor> tensors_;
  FakeDisk disk_;
  std::unique_ptr<DiskFile> file_;
  Bytes bytes_;
};

TEST_F(TensorFileTest, ReadsTheTensorsThatAreWantedAndNoOthers) {
  disk_.SetChunk(7);
  disk_.FailCall(0);  // counts from here
  const auto read = ReadTensors(
      *file_, 1 << 20, [](std::string_view name) { return name == "b"; }, &bytes_);
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->tensors().size(), 1u);
  const TensorInfo& b = *read->Find("b");
  EXPECT_EQ(b.shape, (std::vector<int64_t>{3, 5}));
  EXPECT_EQ(std::memcmp(b.data.data(), tensors_["b"].bytes.data(), b.data.size()), 0);
  const size_t header = std::max(file_->size() - 3 * b.data.size(), kForeignContentBytes);
  EXPECT_LE(disk_.calls(), static_cast<int>((header + b.data.size()) / 7 + 3));
  EXPECT_EQ(bytes_.size, b.data.size()) << "memory for the others is not taken";
  EXPECT_EQ(bytes_.size, b.data.size()) << "memory for the others is not taken";
}

TEST_F(TensorFileTest, TheHeaderIsCheckedAsThatOfAWholeFile) {
  EXPECT_EQ(ReadTensorPlaces(*file_, file_->size() - 1).status().code(), absl::StatusCode::kInvalidArgument);
  const std::string good = SafetensorsBytes(tensors_);
  for (const size_t size : {size_t{0}, size_t{7}, size_t{20}, good.size() - 1}) {
    Put(good.substr(0, size));
    EXPECT_EQ(ReadTensorPlaces(*file_, 1 << 20).status().code(), absl::StatusCode::kInvalidArgument) << size;
  }
  std::string huge = good;
  std::memset(huge.data(), 0xff, 8);
  Put(huge);
  EXPECT_EQ(ReadTensorPlaces(*file_, 1 << 20).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(TensorFileTest, AFileThatBecomesShorterIsRefused) {
  disk_.SetDrift(-1);
  const auto all = [](std::string_view) { return true; };
  EXPECT_EQ(ReadTensors(*file_, 1 << 20, all, &bytes_).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(TensorFileTest, EveryFailedReadIsAnError) {
  const auto read = [&] {
    return ReadTensors(
               *file_, 1 << 20, [](std::string_view) { return true; }, &bytes_)
        .status();
  };
  disk_.FailCall(0);
  ASSERT_TRUE(read().ok());
  const int calls = disk_.calls();
  for (int call = 1; call <= calls; ++call) {
    disk_.FailCall(call);
    EXPECT_EQ(read().code(), absl::StatusCode::kInternal) << call;
  }
}

}  // namespace
}  // namespace hydrad
