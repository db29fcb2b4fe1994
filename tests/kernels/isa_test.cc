#include "kernels/simd/isa.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "tests/kernels/cases.h"

namespace hydrad::simd {
namespace {

TEST(IsaTest, PortableAlwaysRuns) { EXPECT_TRUE(Supported(Isa::kPortable)); }

TEST(IsaTest, ActiveIsOneTheMachineSupportsAndStaysPut) {
  EXPECT_TRUE(Supported(ActiveIsa()));
  EXPECT_EQ(ActiveIsa(), ActiveIsa());
  if (!std::getenv("HYDRAD_ISA")) {
    EXPECT_EQ(ActiveIsa(), Isas().back());
  }
}

TEST(IsaTest, BetterSetsImplyLesserOnes) {
  if (Supported(Isa::kAmx)) {
    EXPECT_TRUE(Supported(Isa::kAvx512Bf16));
  }
  if (Supported(Isa::kAvx512Bf16)) {
    EXPECT_TRUE(Supported(Isa::kAvx512));
  }
  if (Supported(Isa::kAvx512)) {
    EXPECT_TRUE(Supported(Isa::kAvx2));
  }
}

TEST(IsaTest, NamesAreThoseOfTheEnvironmentVariable) {
  EXPECT_STREQ(Name(Isa::kPortable), "portable");
  EXPECT_STREQ(Name(Isa::kAvx2), "avx2");
  EXPECT_STREQ(Name(Isa::kAvx512), "avx512");
  EXPECT_STREQ(Name(Isa::kAvx512Bf16), "avx512bf16");
  EXPECT_STREQ(Name(Isa::kAmx), "amx");
}

}  // namespace
}  // namespace hydrad::simd
