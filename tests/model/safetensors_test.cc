#include "server/model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "server/base/status.h"

namespace hydrad {
namespace {

using ::testing::HasSubstr;

constexpr size_t kMaxHeader = 1000;

std::vector<std::byte> File(std::string_view header, size_t data_bytes) {
  std::vector<std::byte> file(8 + header.size() + data_bytes);
  const uint64_t length = header.size();
  std::memcpy(file.data(), &length, 8);
  std::memcpy(file.data() + 8, header.data(), header.size());
  for (size_t i = 0; i < data_bytes; ++i) file[8 + header.size() + i] = static_cast<std::byte>(i);
  return file;
}

absl::Status ParseStatus(std::span<const std::byte> bytes) {
  return Safetensors::ParseBytes(bytes, kMaxHeader).status();
}

TEST(Safetensors, ReadsTensorsInAnyOrderOfOffsets) {
  const auto file =
      File(R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,1],"data_offsets":[6,14]},)"
           R"("a":{"data_offsets":[0,6],"shape":[3],"dtype":"BF16"}}   )",
           14);
  const auto parsed = Safetensors::ParseBytes(file, kMaxHeader);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->tensors().size(), 2);
  const TensorInfo* b = parsed->Find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->dtype, "F32");
  EXPECT_EQ(b->shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(b->data.size(), 8);
  EXPECT_EQ(b->data[0], std::byte{6});
  EXPECT_EQ(parsed->Find("c"), nullptr);
}

TEST(Safetensors, TakesScalarsAndTensorsWithoutElements) {
  const auto file = File(R"({"empty":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},)"
                         R"("scalar":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
                         R"("last":{"dtype":"U8","shape":[0],"data_offsets":[8,8]}})",
                         8);
  const auto parsed = Safetensors::ParseBytes(file, kMaxHeader);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->Find("scalar")->data.size(), 8);
  EXPECT_TRUE(parsed->Find("empty")->data.empty());
}

TEST(Safetensors, TakesAFileWithoutTensors) {
  EXPECT_TRUE(ParseStatus(File("{}", 0)).ok());
  EXPECT_FALSE(ParseStatus(File("{}", 1)).ok());
}

struct Malformed {
  const char* what;
  const char* header;
  size_t data_bytes;
  const char* error;
};

// Every line breaks one rule of the format, and the error says which and where.
const Malformed kMalformed[] = {
    {"empty header", "", 0, "begin with '{'"},
    {"leading space", " {}", 0, "begin with '{'"},
    {"not JSON", "{nonsense}", 0, "not JSON"},
    {"cut JSON", R"({"a":{"dtype":"F32")", 0, "not JSON"},
    {"text after the object", "{} x", 0, "not JSON"},
    {"broken UTF-8", "{\"\xff\":{}}", 0, "not JSON"},
    {"tensor is a number", R"({"a":1})", 0, "tensor 'a': unexpected number"},
    {"tensor is null", R"({"a":null})", 0, "tensor 'a': unexpected null"},
    {"tensor is an array", R"({"a":[1]})", 0, "tensor 'a': unexpected array"},
    {"tensor is a string", R"({"a":"F32"})", 0, "tensor 'a': unexpected string"},
    {"missing dtype", R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4, "tensor 'a': needs"},
    {"missing shape", R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "tensor 'a': needs"},
    {"missing offsets", R"({"a":{"dtype":"F32","shape":[1]}})", 4, "tensor 'a': needs"},
    {"unknown key", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4, "unknown key 'x'"},
    {"nested object", R"({"a":{"dtype":{"x":{}},"shape":[1],"data_offsets":[0,4]}})", 4, "object"},
    {"dtype is a number", R"({"a":{"dtype":4,"shape":[1],"data_offsets":[0,4]}})", 4, "unexpected number"},
    {"dtype is an array", R"({"a":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}})", 4,
     "unexpected array"},
    {"unknown dtype", R"({"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", 4, "unknown dtype 'F31'"},
    {"shape is a string", R"({"a":{"dtype":"F32","shape":"1","data_offsets":[0,4]}})", 4,
     "unexpected string"},
    {"shape holds a string", R"({"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}})", 4,
     "unexpected string"},
    {"shape is nested", R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, "unexpected array"},
    {"negative extent", R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "negative"},
    {"fraction", R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "not a 64-bit integer"},
    {"beyond 64 bits", R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}})", 4,
     "not a 64-bit integer"},
    {"true for a number", R"({"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}})", 4, "boolean"},
    {"product overflows", R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
     "shape overflows"},
    {"bytes overflow", R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0,
     "shape overflows"},
    {"one offset", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "two numbers"},
    {"three offsets", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4, "two numbers"},
    {"end before begin", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "data_offsets"},
    {"end behind the file", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4,
     "outside 4 bytes"},
    {"span too short", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "shape needs 8 bytes"},
    {"hole at the start", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "tensor 'a': hole"},
    {"hole between",
     R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
     3, "tensor 'b': hole"},
    {"overlap",
     R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
     3, "tensor 'b': overlap"},
    {"the same bytes twice",
     R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
     2, "tensor 'b': overlap"},
    {"bytes behind the last", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 2, "1 bytes after"},
    {"duplicate tensor",
     R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
     2, "tensor 'a': duplicate"},
    {"duplicate field", R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1,
     "duplicate key 'dtype'"},
    {"duplicate offsets", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"data_offsets":[0,1]}})", 1,
     "duplicate key 'data_offsets'"},
    {"metadata is a list", R"({"__metadata__":[]})", 0, "unexpected array"},
    {"metadata holds a number", R"({"__metadata__":{"n":1}})", 0, "unexpected number"},
    {"metadata holds an object", R"({"__metadata__":{"n":{}}})", 0, "object"},
    {"duplicate metadata", R"({"__metadata__":{},"__metadata__":{}})", 0, "duplicate"},
    {"duplicate metadata key", R"({"__metadata__":{"k":"1","k":"2"}})", 0, "duplicate key 'k'"},
};

TEST(Safetensors, RefusesEveryMalformedHeaderWithItsReason) {
  for (const Malformed& test : kMalformed) {
    const absl::Status status = ParseStatus(File(test.header, test.data_bytes));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << test.what;
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.error)) << test.what;
  }
}

TEST(Safetensors, RefusesANulByteThatWouldHideTheRest) {
  const std::string header("{}\0{\"a\"", 7);
  EXPECT_THAT(std::string(ParseStatus(File(header, 0)).message()), HasSubstr("NUL"));
}

TEST(Safetensors, RefusesAWrongHeaderLength) {
  auto file = File("{}", 0);
  EXPECT_TRUE(ParseStatus(file).ok());
  for (size_t size = 0; size < file.size(); ++size)
    EXPECT_FALSE(ParseStatus(std::span(file).first(size)).ok());
  const uint64_t lengths[] = {3, kMaxHeader, kMaxHeader + 1, ~0ull, ~0ull - 7, 1ull << 63};
  for (const uint64_t length : lengths) {
    std::memcpy(file.data(), &length, 8);
    EXPECT_FALSE(ParseStatus(file).ok()) << length;
  }
}

TEST(Safetensors, RefusesAHeaderBeyondTheLimit) {
  const std::string header = "{}" + std::string(kMaxHeader - 2, ' ');
  EXPECT_TRUE(ParseStatus(File(header, 0)).ok());
  EXPECT_FALSE(ParseStatus(File(header + " ", 0)).ok());
}

TEST(Safetensors, RefusesDeepNestingWithoutFollowingIt) {
  EXPECT_FALSE(ParseStatus(File(R"({"a":)" + std::string(900, '['), 0)).ok());
}

TEST(Safetensors, SurvivesRandomDamage) {
  const auto good = File(R"({"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}})", 8);
  std::mt19937 random(7);
  for (int round = 0; round < 20'000; ++round) {
    auto file = good;
    for (int i = random() % 4; i >= 0; --i) file[random() % file.size()] = static_cast<std::byte>(random());
    file.resize(file.size() - (random() % 8 == 0 ? random() % file.size() : 0));
    const auto parsed = Safetensors::ParseBytes(file, kMaxHeader);
    if (!parsed.ok()) continue;
    for (const auto& [name, tensor] : parsed->tensors()) {
      EXPECT_GE(tensor.data.data(), file.data());
      EXPECT_LE(tensor.data.data() + tensor.data.size(), file.data() + file.size());
    }
  }
}

TEST(Safetensors, TellsPlacesFromTheHeaderAlone) {
  const auto file = File(R"({"b":{"dtype":"F32","shape":[2,1],"data_offsets":[6,14]},)"
                         R"("a":{"data_offsets":[0,6],"shape":[3],"dtype":"BF16"}})" +
                             std::string(300, ' '),
                         14);
  size_t end = 0;
  const auto read = [&](uint64_t begin, std::span<std::byte> out) {
    std::memcpy(out.data(), file.data() + begin, out.size());
    end = std::max<size_t>(end, begin + out.size());
    return absl::OkStatus();
  };
  const auto places = Safetensors::ReadPlaces(file.size(), kMaxHeader, read);
  ASSERT_TRUE(places.ok()) << places.status();
  EXPECT_EQ(end, file.size() - 14);
  const TensorPlace& b = places->at("b");
  EXPECT_EQ(b.shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(b.begin, file.size() - 8);
  EXPECT_EQ(b.bytes, 8u);

  EXPECT_FALSE(Safetensors::ReadPlaces(file.size() - 1, kMaxHeader, read).ok());
  EXPECT_FALSE(Safetensors::ReadPlaces(7, kMaxHeader, read).ok());
  EXPECT_EQ(Safetensors::ReadPlaces(8, kMaxHeader, [](auto, auto) { return Internal("disk"); }).status(),
            Internal("disk"));
}

TEST(Safetensors, ViewsTensorsAsMatrices) {
  using Shape = std::vector<int64_t>;
  const auto matrix = MatrixOf("w", "BF16", Shape{3, 4});
  ASSERT_TRUE(matrix.ok());
  EXPECT_EQ(matrix->rows, 3);
  EXPECT_EQ(matrix->cols, 4);
  EXPECT_EQ(matrix->dtype, DType::kBf16);
  const auto vector = MatrixOf("v", "F32", Shape{6});
  ASSERT_TRUE(vector.ok());
  EXPECT_EQ(vector->rows, 1);
  EXPECT_EQ(vector->cols, 6);
  EXPECT_EQ(MatrixOf("h", "F16", Shape{12})->dtype, DType::kF16);

  EXPECT_THAT(std::string(MatrixOf("w", "I32", Shape{6}).status().message()), HasSubstr("'w': dtype I32"));
  EXPECT_FALSE(MatrixOf("w", "F32", Shape{}).ok());
  EXPECT_FALSE(MatrixOf("w", "F32", Shape{1, 2, 3}).ok());
  EXPECT_FALSE(MatrixOf("w", "F32", Shape{0, 1ll << 40}).ok());
}

}  // namespace
}  // namespace hydrad
