#include "server/model/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
  EXPECT_THAT(checkpoint->names(), ElementsAre("a", "b"));
  EXPECT_TRUE(checkpoint->Matrix("a", 2, 3).ok());
  EXPECT_TRUE(checkpoint->Matrix("b", 1, 5).ok());
}

TEST(Checkpoint, RefusesMissingTensorsAndOtherShapesByName) {
  const TempDir dir;
  WriteTensors(dir.path() + "/model.safetensors", {{"a", Floats({2, 3})}, {"i", {"I32", {1}, "abcd"}}});
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_THAT(ErrorOf(checkpoint->Matrix("c", 1, 1).status()), HasSubstr("no tensor 'c'"));
  EXPECT_THAT(ErrorOf(checkpoint->Matrix("a", 3, 2).status()),
              HasSubstr("model.safetensors: tensor 'a': shape [2, 3], not [3, 2]"));
  EXPECT_THAT(ErrorOf(checkpoint->Matrix("i", 1, 1).status()), HasSubstr("tensor 'i': dtype I32"));
}

TEST(Checkpoint, ReadsShardsByTheirIndex) {
  const TempDir dir;
  WriteTensors(dir.path() + "/1.safetensors", {{"a", Floats({2})}, {"unlisted", Floats({1})}});
  WriteTensors(dir.path() + "/2.safetensors", {{"b", Floats({3})}});
  dir.Write("model.safetensors.index.json", R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_THAT(checkpoint->names(), ElementsAre("a", "b"));
  EXPECT_TRUE(checkpoint->Matrix("b", 1, 3).ok());
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
