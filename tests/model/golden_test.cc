// Every random architecture and the tiny trained model against transformers.
#include <gtest/gtest.h>

#include "tests/model/golden.h"

namespace hydrad {
namespace {

class Golden : public ::testing::TestWithParam<std::string> {};

TEST_P(Golden, F32AgreesWithTransformers) { CheckBaseGolden(GetParam(), DType::kF32); }
TEST_P(Golden, Bf16IsNoWorseThanTransformersBf16) { CheckBaseGolden(GetParam(), DType::kBf16); }

INSTANTIATE_TEST_SUITE_P(Architectures, Golden,
                         ::testing::ValuesIn(GoldenNames(/*adapter=*/false, /*smollm2=*/false)),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace hydrad
