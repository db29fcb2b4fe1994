#include "server/backend/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

namespace hydrad {
namespace {

using testing::HasSubstr;

DeviceOptions Options(const std::string& device, const std::string& library) {
  return {.device = device, .cuda_library = library, .cpu = {.threads = 1}, .cuda = {}};
}

TEST(Device, TheCpuIsAlwaysThere) {
  const auto device = OpenDevice(Options("cpu", "no/such/hydrad_cuda.so"));
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_THAT(device->backend->description(), HasSubstr("cpu"));
  EXPECT_EQ(device->fell_back, "");
}

TEST(Device, AutoFallsBackAndSaysWhy) {
  const auto device = OpenDevice(Options("auto", "no/such/hydrad_cuda.so"));
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_THAT(device->backend->description(), HasSubstr("cpu"));
  EXPECT_THAT(device->fell_back, HasSubstr("no/such/hydrad_cuda.so"));
}

TEST(Device, CudaIsNotReplacedByAnythingElse) {
  const auto device = OpenDevice(Options("cuda", "no/such/hydrad_cuda.so"));
  EXPECT_EQ(device.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(device.status().message()), HasSubstr("--device cuda: "));
}

// As where the CUDA libraries that it links are missing: the dynamic loader's own words.
TEST(Device, ALibraryThatDoesNotLoadIsAsGoodAsNone) {
  const std::string path = testing::TempDir() + "/not_a_library.so";
  std::ofstream(path) << "text";
  const auto device = OpenDevice(Options("auto", path));
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_THAT(device->fell_back, HasSubstr("not_a_library.so"));
  std::remove(path.c_str());
}

TEST(Device, CudaServesNoF32Weights) {
  DeviceOptions options = Options("cuda", "no/such/hydrad_cuda.so");
  options.cpu.weight_type = DType::kF32;
  EXPECT_EQ(OpenDevice(options).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(Device, TheLibraryIsLookedForBesideTheProgram) {
  EXPECT_THAT(CudaLibraryPath(), testing::EndsWith("/lib/hydrad_cuda.so"));
}

}  // namespace
}  // namespace hydrad
