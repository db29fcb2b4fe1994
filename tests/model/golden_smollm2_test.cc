// The default model against transformers. Fails without the model: tests/run brings it.
#include <gtest/gtest.h>

#include "tests/model/golden.h"

namespace hydrad {
namespace {

TEST(GoldenSmollm2, F32AgreesWithTransformers) { CheckBaseGolden("smollm2", DType::kF32); }
TEST(GoldenSmollm2, Bf16IsNoWorseThanTransformersBf16) { CheckBaseGolden("smollm2", DType::kBf16); }

}  // namespace
}  // namespace hydrad
