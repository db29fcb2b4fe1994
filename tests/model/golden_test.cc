// Every random architecture and the tiny trained model against transformers.
#include <gtest/gtest.h>

#include "tests/model/golden.h"

namespace hydrad {
namespace {

class Golden : public ::testing::TestWithParam<const char*> {};

TEST_P(Golden, F32AgreesWithTransformers) { CheckBaseGolden(GetParam(), DType::kF32); }
TEST_P(Golden, Bf16IsNoWorseThanTransformersBf16) { CheckBaseGolden(GetParam(), DType::kBf16); }

INSTANTIATE_TEST_SUITE_P(Architectures, Golden,
                         ::testing::Values("llama", "llama_bias", "llama_rope_linear", "llama_rope_llama3",
                                           "llama_rope_parameters", "llama_multi_head",
                                           "llama_untied_sharded", "mistral", "mistral_window", "qwen2",
                                           "qwen3", "tiny"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace hydrad
