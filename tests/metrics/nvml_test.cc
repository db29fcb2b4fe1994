#include "server/metrics/nvml.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace hydrad {
namespace {

using testing::HasSubstr;

constexpr const char* kGpu = "00000000:65:00.0";

class NvmlTest : public testing::Test {
 protected:
  ~NvmlTest() override {
    unsetenv("FAKE_NVML");
    const auto users =
        reinterpret_cast<int (*)()>(dlsym(dlopen(FAKE_NVML_LIBRARY, RTLD_NOW), "fake_nvml_users"));
    EXPECT_EQ(users(), 0) << "every beginning has its end";
  }
  static std::string Fault(const char* lacking, const char* gpu = kGpu) {
    setenv("FAKE_NVML", lacking, 1);
    const auto nvml = Nvml::Open(FAKE_NVML_LIBRARY, gpu);
    EXPECT_TRUE(absl::IsUnavailable(nvml.status())) << nvml.status();
    return std::string(nvml.status().message());
  }
};

TEST_F(NvmlTest, TellsPowerAndWhatWasUsedSinceItWasOpened) {
  const auto nvml = Nvml::Open(FAKE_NVML_LIBRARY, kGpu);
  ASSERT_TRUE(nvml.ok()) << nvml.status();
  const DeviceReading first = (*nvml)->Read(), second = (*nvml)->Read();
  EXPECT_DOUBLE_EQ(first.energy_joules.value(), 1.5);
  EXPECT_DOUBLE_EQ(second.energy_joules.value(), 3);
  EXPECT_DOUBLE_EQ(second.power_watts.value() - first.power_watts.value(), 0.5);
  EXPECT_GT(first.power_watts.value(), 250);
  EXPECT_EQ(first.memory_used_bytes.value(), 20.0 * (1 << 30));
  EXPECT_EQ(first.utilization.value(), 0.75);
}

TEST_F(NvmlTest, LeavesOutWhatTheGpuDoesNotTell) {
  setenv("FAKE_NVML", "energy", 1);
  const auto nvml = Nvml::Open(FAKE_NVML_LIBRARY, kGpu);
  ASSERT_TRUE(nvml.ok()) << nvml.status();
  const DeviceReading reading = (*nvml)->Read();
  EXPECT_FALSE(reading.energy_joules.has_value());
  EXPECT_TRUE(reading.power_watts.has_value());
}

TEST_F(NvmlTest, SaysWhatIsMissing) {
  EXPECT_EQ(Fault("init"), "nvmlInit: Not Found");
  EXPECT_EQ(Fault("gpu"), "GPU 00000000:65:00.0: Not Found");
  EXPECT_EQ(Fault("", "5"), "GPU 5: Not Found");
  const auto missing = Nvml::Open("/nowhere/libnvidia-ml.so.1", kGpu);
  EXPECT_TRUE(absl::IsUnavailable(missing.status())) << missing.status();
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("/nowhere/libnvidia-ml.so.1"));
  // A library, but another one.
  const auto other = Nvml::Open("libdl.so.2", kGpu);
  EXPECT_TRUE(absl::IsUnavailable(other.status())) << other.status();
  EXPECT_THAT(std::string(other.status().message()), HasSubstr("nvmlInit_v2"));
}

}  // namespace
}  // namespace hydrad
