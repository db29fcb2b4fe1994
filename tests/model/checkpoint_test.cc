#include "server/model/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/base/status_macros.h"
#include "tests/model/model_files.h"

namespace hydrad {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TensorFile Floats(std::vector<int64_t> shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return {"F32", shape, std::string(static_cast<size_t>(count) * 4, '\0')};
}

std::string ErrorOf(const absl::Status& status) { return std::string(status.message()); }

TEST(Checkpoint, ReadsASingleFile) {
  const TempDir dir;
  WriteTensors(dir.path() + "/model.safetensors", {{"a", Floats({2, 3})}, {"b", Floats({5})}});
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_THAT((*checkpoint)->names(), ElementsAre("a", "b"));
  EXPECT_TRUE((*checkpoint)->Read("a", 2, 3).ok());
  EXPECT_TRUE((*checkpoint)->Read("b", 1, 5).ok());
}

TEST(Checkpoint, RefusesMissingTensorsAndOtherShapesByName) {
  const TempDir dir;
  WriteTensors(dir.path() + "/model.safetensors", {{"a", Floats({2, 3})}, {"i", {"I32", {1}, "abcd"}}});
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_THAT(ErrorOf((*checkpoint)->Read("c", 1, 1).status()), HasSubstr("no tensor 'c'"));
  EXPECT_THAT(ErrorOf((*checkpoint)->Read("a", 3, 2).status()),
              HasSubstr("model.safetensors: tensor 'a': shape [2, 3], not [3, 2]"));
  EXPECT_THAT(ErrorOf((*checkpoint)->Read("i", 1, 1).status()), HasSubstr("tensor 'i': dtype I32"));
}

TEST(Checkpoint, ReadsShardsByTheirIndex) {
  const TempDir dir;
  WriteTensors(dir.path() + "/1.safetensors", {{"a", Floats({2})}, {"unlisted", Floats({1})}});
  WriteTensors(dir.path() + "/2.safetensors", {{"b", Floats({3})}});
  dir.Write("model.safetensors.index.json", R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_THAT((*checkpoint)->names(), ElementsAre("a", "b"));
  EXPECT_TRUE((*checkpoint)->Read("b", 1, 3).ok());
}

// The values of a tensor as both ways of reading tell them.
absl::StatusOr<std::string> Values(const Checkpoint& checkpoint, const std::string& name, int rows,
                                   int cols) {
  std::string visited;
  const absl::Status all = checkpoint.Visit(name, rows, cols, [&](int first, const HostMatrix& block) {
    EXPECT_EQ(visited.size(), static_cast<size_t>(first) * cols * 4);
    visited.append(static_cast<const char*>(block.data), static_cast<size_t>(block.rows) * cols * 4);
  });
  const auto read = checkpoint.Read(name, rows, cols);
  EXPECT_EQ(all, read.status());
  RETURN_IF_ERROR(all);
  EXPECT_EQ(visited, std::string(static_cast<const char*>(read->view.data), visited.size()));
  return visited;
}

TEST(Checkpoint, ReadsTheSameInOnePieceAndInBlocks) {
  const TempDir dir;
  TensorFile wide = Floats({300, 1000});  // more than one block
  for (size_t i = 0; i < wide.bytes.size(); ++i) wide.bytes[i] = static_cast<char>(i * 7 / 5);
  WriteTensors(dir.path() + "/model.safetensors",
               {{"a", Floats({3, 1})}, {"b", wide}, {"none", Floats({0, 4})}});
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(*Values(**checkpoint, "b", 300, 1000), wide.bytes);
  EXPECT_EQ(*Values(**checkpoint, "a", 3, 1), std::string(12, '\0'));
  EXPECT_EQ(*Values(**checkpoint, "none", 0, 4), "");
}

// What has been read once must stay as it was, whoever wrote over the file.
TEST(Checkpoint, RefusesWhatHasChangedSinceItWasRead) {
  const TempDir dir;
  const std::string path = dir.path() + "/model.safetensors";
  WriteTensors(path, {{"a", Floats({2, 3})}, {"b", Floats({2, 3})}});
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(Values(**checkpoint, "a", 2, 3).ok());
  TensorFile other = Floats({2, 3});
  other.bytes[23] = 1;
  WriteTensors(path, {{"a", other}, {"b", Floats({2, 3})}});  // in place
  const absl::Status changed = Values(**checkpoint, "a", 2, 3).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(changed)) << changed;
  EXPECT_THAT(ErrorOf(changed), HasSubstr("model.safetensors has changed since it was loaded"));
  EXPECT_TRUE(Values(**checkpoint, "b", 2, 3).ok());

  std::filesystem::resize_file(path, 100);
  EXPECT_TRUE(absl::IsFailedPrecondition(Values(**checkpoint, "a", 2, 3).status()));
  WriteTensors(path, {{"a", Floats({2, 3})}, {"b", Floats({2, 3})}});
  EXPECT_TRUE(Values(**checkpoint, "a", 2, 3).ok()) << "it is again what it was";
}

TEST(Checkpoint, DoesNotFeelAFileThatIsReplacedByRenaming) {
  const TempDir dir;
  WriteTensors(dir.path() + "/model.safetensors", {{"a", Floats({2, 3})}});
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(Values(**checkpoint, "a", 2, 3).ok());
  dir.Write("new", "nonsense");
  std::filesystem::rename(dir.path() + "/new", dir.path() + "/model.safetensors");
  EXPECT_TRUE(Values(**checkpoint, "a", 2, 3).ok());
}

TEST(Checkpoint, AFileThatEndsWhileItIsReadIsAnError) {
  const TempDir dir;
  const std::string path = dir.path() + "/model.safetensors";
  WriteTensors(path, {{"a", Floats({200, 300})}});
  const auto checkpoint = Checkpoint::Open(dir.path());
  std::filesystem::resize_file(path, 5000);
  const absl::Status cut = Values(**checkpoint, "a", 200, 300).status();
  EXPECT_TRUE(absl::IsInvalidArgument(cut));
  EXPECT_THAT(ErrorOf(cut), HasSubstr("model.safetensors: ends at byte 5000"));
}

TEST(Checkpoint, RefusesABrokenIndex) {
  const TempDir dir;
  WriteTensors(dir.path() + "/1.safetensors", {{"a", Floats({2})}});
  const std::pair<const char*, const char*> kCases[] = {
      {"nonsense", "no weight_map"},
      {"[]", "no weight_map"},
      {R"({"weight_map":[]})", "no weight_map"},
      {R"({"weight_map":{"a":1}})", "'a' is given no file name"},
      {R"({"weight_map":{"b":"1.safetensors"}})", "no tensor 'b'"},
      {R"({"weight_map":{"a":"2.safetensors"}})", "no such file"},
      {R"({"weight_map":{"a":"../1.safetensors"}})", "not the name of a file"},
      {R"({"weight_map":{"a":"/etc/passwd"}})", "not the name of a file"},
      {R"({"weight_map":{"a":""}})", "not the name of a file"},
      {R"({"weight_map":{"a":".."}})", "not a regular file"},
  };
  for (const auto& [index, error] : kCases) {
    dir.Write("model.safetensors.index.json", index);
    EXPECT_THAT(ErrorOf(Checkpoint::Open(dir.path()).status()), HasSubstr(error)) << index;
  }
}

TEST(Checkpoint, NamesTheFileThatIsMissingOrBroken) {
  const TempDir dir;
  EXPECT_EQ(Checkpoint::Open(dir.path()).status().code(), absl::StatusCode::kNotFound);
  dir.Write("model.safetensors", "short");
  EXPECT_THAT(ErrorOf(Checkpoint::Open(dir.path()).status()),
              HasSubstr("/model.safetensors: file of 5 bytes"));
}

}  // namespace
}  // namespace hydrad
