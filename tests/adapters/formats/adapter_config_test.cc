#include "server/adapters/formats/adapter_config.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "server/base/json.h"

namespace hydrad {
namespace {

using ::testing::StartsWith;

constexpr char kPath[] = "model.layers.3.self_attn.q_proj";

Json Minimal() { return {{"peft_type", "LORA"}, {"r", 16}, {"lora_alpha", 32}}; }

absl::StatusOr<AdapterConfig> With(const Json& fields = Json::object()) {
  Json config = Minimal();
  config.update(fields);
  return ParseAdapterConfig(config.dump());
}
std::string ErrorWith(const Json& fields) { return std::string(With(fields).status().message()); }

TEST(ParseAdapterConfig, ScaleIsAlphaOverRank) {
  const auto config = With();
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(*config->RankOf(kPath), 16);
  EXPECT_EQ(*config->ScaleOf(kPath), 2.0f);
  EXPECT_EQ(config->heads, 0);
  EXPECT_EQ(*With({{"lora_alpha", 12.5}})->ScaleOf(kPath), 12.5f / 16);
}

TEST(ParseAdapterConfig, RsLoraDividesByTheRoot) {
  const auto config = With({{"use_rslora", true}, {"r", 8}});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(*config->ScaleOf(kPath), static_cast<float>(32 / std::sqrt(8.0)));
}

TEST(ParseAdapterConfig, PatternsOverrideRankAndAlphaPerModule) {
  const auto config =
      With({{"rank_pattern", {{"q_proj", 4}, {".*", 2}}}, {"alpha_pattern", {{"v_proj", 64}}}});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(*config->RankOf(kPath), 4);
  EXPECT_EQ(*config->ScaleOf(kPath), 8.0f);
  EXPECT_EQ(*config->RankOf("model.layers.3.self_attn.v_proj"), 2);
  EXPECT_EQ(*config->ScaleOf("model.layers.3.self_attn.v_proj"), 32.0f);
}

// The file that PEFT 0.11 writes, with a value in every field.
TEST(ParseAdapterConfig, ReadsOverWhatOnlySteeredTheTraining) {
  const auto config = ParseAdapterConfig(R"({
    "alpha_pattern": {}, "auto_mapping": {"base_model_class": "LlamaForCausalLM"},
    "base_model_name_or_path": "HuggingFaceTB/SmolLM-135M-Instruct", "bias": "none", "fan_in_fan_out": false,
    "inference_mode": true, "init_lora_weights": true, "layer_replication": null, "layers_pattern": null,
    "layers_to_transform": [0, 1], "loftq_config": {}, "lora_alpha": 32, "lora_dropout": 0.05,
    "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": null, "peft_type": "LORA", "r": 16,
    "rank_pattern": {}, "revision": "main", "target_modules": ["v_proj", "q_proj"], "task_type": "CAUSAL_LM",
    "use_dora": false, "use_rslora": false, "peft_version": "0.18.0", "qalora_group_size": 16,
    "eva_config": {"rho": 2.0}, "exclude_modules": ["lm_head"], "trainable_token_indices": null,
    "ensure_weight_tying": false, "some_new_number": 3, "some_new_name": "x", "some_new_switch": false})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->rank, 16);
}

TEST(ParseAdapterConfig, WhatPeftAddsToLora) {
  const auto plain = With();
  EXPECT_FALSE(plain->dora || plain->lora_bias);
  EXPECT_TRUE(With({{"use_dora", true}})->dora);
  const auto config = With({{"lora_bias", true}, {"alora_invocation_tokens", {1, 2}}, {"bias", "all"}});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(config->lora_bias);
  EXPECT_EQ(config->tokens.invocation, (std::vector<int32_t>{1, 2}));
  EXPECT_TRUE(With({{"modules_to_save", {"lm_head"}}})->tokens.saves_head);
  EXPECT_EQ(ErrorWith({{"use_dora", 1}}), "field 'use_dora': must be true or false");
}

TEST(ParseAdapterConfig, HydraLoraIsToldByItsHeads) {
  const auto config = With({{"lora_nums", 3},
                            {"lora_alpha", 32.0},
                            {"enable_lora", nullptr},
                            {"merge_weights", false},
                            {"blc_alpha", 0.1},
                            {"blc_weight", 0.01},
                            {"rank_pattern", Json::object()}});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->heads, 3);
  EXPECT_EQ(With({{"lora_nums", nullptr}})->heads, 0);
  EXPECT_THAT(ErrorWith({{"lora_nums", 0}}), StartsWith("field 'lora_nums': must be an integer from 1"));
  EXPECT_THAT(ErrorWith({{"lora_nums", 3}, {"use_rslora", true}}),
              StartsWith("field 'use_rslora': has no meaning"));
  EXPECT_THAT(ErrorWith({{"lora_nums", 3}, {"rank_pattern", {{"q", 1}}}}),
              StartsWith("field 'rank_pattern'"));
}

TEST(ParseAdapterConfig, HeadsMayBePicked) {
  const auto gate = [](const Json& fields) { return With(fields)->gate; };
  EXPECT_EQ(gate({{"lora_nums", 3}}), LoraGate{GateRule::kSoftmax});
  EXPECT_EQ(gate({{"lora_nums", 3}, {"top_k", 2}}), (LoraGate{GateRule::kTopK, 2, true}));
  EXPECT_EQ(gate({{"lora_nums", 3}, {"top_k", 1}, {"norm_topk_prob", false}}),
            (LoraGate{GateRule::kTopK, 1, false}));
  EXPECT_EQ(ErrorWith({{"lora_nums", 3}, {"top_k", 4}}), "field 'top_k': must be an integer from 1 to 3");
  EXPECT_EQ(ErrorWith({{"lora_nums", 3}, {"top_k", 0}}), "field 'top_k': must be an integer from 1 to 3");
  EXPECT_EQ(ErrorWith({{"lora_nums", 3}, {"norm_topk_prob", 1}}),
            "field 'norm_topk_prob': must be true or false");
}

TEST(ParseAdapterConfig, RoutedFamiliesSayHowTheyRoute) {
  const auto family = [](const char* type, const Json& fields) {
    Json all = {{"peft_type", type}, {"num_experts", 4}, {"lora_rank", 8}};
    all.update(fields);
    return With(all);
  };
  const auto error = [&](const char* type, const Json& fields) {
    return std::string(family(type, fields).status().message());
  };
  EXPECT_EQ(family("MOLA", Json::object())->gate, (LoraGate{GateRule::kTopK, 2, true}));
  EXPECT_EQ(family("MOLA", {{"use_rslora", true}})->rank, 16);
  EXPECT_EQ(family("ADAMOLE", Json::object())->rank, 8);
  EXPECT_EQ(family("ADAMOLE", Json::object())->gate.threshold, 0.25f);
  EXPECT_EQ(family("MOLE", {{"top_k", 3}})->gate, (LoraGate{GateRule::kTopK, 3, true}));
  EXPECT_EQ(family("MOLE", {{"threshold", 0.2}})->gate,
            (LoraGate{GateRule::kFixedThreshold, 0, false, 0.2f}));
  EXPECT_EQ(error("MOLA", {{"num_experts", nullptr}}),
            "field 'num_experts': must be an integer from 1 to 1024");
  EXPECT_EQ(error("MOLA", {{"top_k", 5}}), "field 'top_k': must be an integer from 1 to 4");
  EXPECT_EQ(error("MOLA", {{"num_experts", 1}}),
            "field 'top_k': must be given where there are fewer experts than 2");
  EXPECT_EQ(error("MOLA", {{"routing_strategy", "mixlora"}}), "field 'routing_strategy': must be 'mola'");
  EXPECT_EQ(error("LORAMOE", {{"jitter_noise", 0.1}}), "field 'jitter_noise': would make the router random");
  EXPECT_EQ(error("LORAMOE", {{"rank_pattern", {{"q", 1}}}}),
            "field 'rank_pattern': is not known to this family");
  EXPECT_EQ(error("ADAMOLE", {{"max_threshold", -1}}), "field 'max_threshold': must be a number from 0");
  EXPECT_EQ(error("ADAMOLE", {{"use_rslora", true}}), "field 'use_rslora': is not known to this family");
  EXPECT_EQ(error("MOLE", Json::object()), "field 'top_k': or 'threshold' must be given, not both");
  EXPECT_EQ(error("MOLE", {{"threshold", 0.2}, {"top_k", 2}}),
            "field 'top_k': or 'threshold' must be given, not both");
  EXPECT_EQ(error("MOLA", {{"threshold", 0.2}}), "field 'threshold': is not known to this family");
  EXPECT_EQ(error("MOLE", {{"threshold", "0.2"}}), "field 'threshold': must be a number from 0");
}

TEST(ParseAdapterConfig, HasOneVariantOfALayerAtATime) {
  const Json velora = {{"num_groups", 4}};
  EXPECT_TRUE(With({{"velora_config", velora}}).ok());
  EXPECT_TRUE(With({{"velora_config", nullptr}, {"use_dora", true}}).ok());
  EXPECT_EQ(ErrorWith({{"velora_config", velora}, {"use_dora", true}}),
            "field 'velora_config': does not go with use_dora");
  EXPECT_EQ(ErrorWith({{"velora_config", velora}, {"alora_invocation_tokens", {1}}}),
            "field 'velora_config': does not go with alora_invocation_tokens");
  EXPECT_EQ(ErrorWith({{"init_lora_weights", "mica"}, {"use_dora", true}}),
            "field 'init_lora_weights': does not go with use_dora");
  EXPECT_EQ(ErrorWith({{"alora_invocation_tokens", {1}}, {"use_dora", true}}),
            "field 'alora_invocation_tokens': does not go with use_dora");
}

TEST(ParseAdapterConfig, InitsThatLeaveTheBaseAloneAreFine) {
  for (const Json& init : {Json(true), Json(false), Json(nullptr), Json("gaussian"), Json("orthogonal"),
                           Json("eva"), Json("mica"), Json("EVA")}) {
    EXPECT_TRUE(With({{"init_lora_weights", init}}).ok()) << init;
  }
  for (const char* init : {"pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga", "new_one"}) {
    EXPECT_THAT(
        ErrorWith({{"init_lora_weights", init}}),
        StartsWith("field 'init_lora_weights': '" + std::string(init) + "' may have changed the base"));
  }
}

TEST(ParseAdapterConfig, OtherFamiliesAreRefusedByName) {
  const std::vector<std::pair<const char*, const char*>> families = {{"XLORA", "X-LoRA"},
                                                                     {"MIXLORA", "MixLoRA"},
                                                                     {"MMOELORA", "MOELoRA"},
                                                                     {"ADALORA", "AdaLoRA"},
                                                                     {"PREFIX_TUNING", "prefix tuning"}};
  for (const auto& [type, name] : families) {
    EXPECT_EQ(ErrorWith({{"peft_type", type}}),
              fmt::format("field 'peft_type': {} adapters are not supported; LoRA, HydraLoRA, LoRAMoE, MoLA, "
                          "AdaMoLE, MoLE and MoA are",
                          name));
  }
  EXPECT_EQ(ErrorWith({{"peft_type", "NEW"}}), "field 'peft_type': 'NEW' is not known");
  EXPECT_EQ(ErrorWith({{"peft_type", nullptr}}), "field 'peft_type': must be a string");
}

TEST(ParseAdapterConfig, WhatChangesTheResultIsRefusedByName) {
  const std::vector<std::pair<Json, const char*>> cases = {
      {{{"use_dora", true}, {"lora_bias", true}}, "field 'lora_bias': does not go with use_dora"},
      {{{"use_dora", true}, {"alora_invocation_tokens", {1}}},
       "field 'alora_invocation_tokens': does not go with use_dora"},
      {{{"lora_nums", 2}, {"use_dora", true}}, "field 'use_dora': has no meaning beside lora_nums"},
      {{{"modules_to_save", {"score"}}}, "field 'modules_to_save': 'score' as a whole is not supported"},
      {{{"use_qalora", true}}, "field 'use_qalora': QALoRA is not supported"},
      {{{"use_bdlora", true}}, "field 'use_bdlora': BdLoRA is not supported"},
      {{{"kasa_config", {{"beta", 1}}}}, "field 'kasa_config': KaSA is not supported"},
      {{{"arrow_config", {{"top_k", 3}}}}, "field 'arrow_config': Arrow routing is not supported"},
      {{{"layer_replication", {{0, 4}, {2, 5}}}},
       "field 'layer_replication': replicated layers is not supported"},
      {{{"fan_in_fan_out", true}}, "field 'fan_in_fan_out': weights stored as [in, out] is not supported"},
      {{{"target_parameters", {"mlp.w"}}},
       "field 'target_parameters': LoRA on bare parameters is not supported"},
      {{{"megatron_config", {{"a", 1}}}},
       "field 'megatron_config': Megatron's parallel layers is not supported"},
      {{{"enable_lora", {true, false}}}, "field 'enable_lora'"},
      {{{"use_newthing", true}},
       "field 'use_newthing': is not known and switched on, so it may change the result"},
      {{{"new_config", {{"a", 1}}}}, "field 'new_config': is not known and switched on"},
      {{{"bias", "some"}}, "field 'bias': must be 'none', 'all' or 'lora_only'"},
  };
  for (const auto& [fields, error] : cases) EXPECT_THAT(ErrorWith(fields), StartsWith(error));
}

TEST(ParseAdapterConfig, NumbersAreInRange) {
  for (const Json& r : {Json(0), Json(-1), Json(1.5), Json("16"), Json(true), Json(nullptr), Json(1e18),
                        Json(65537), Json(18446744073709551615u)}) {
    EXPECT_EQ(ErrorWith({{"r", r}}), "field 'r': must be an integer from 1 to 65536") << r;
  }
  EXPECT_EQ(ErrorWith({{"lora_alpha", nullptr}}), "field 'lora_alpha': must be a number");
  EXPECT_EQ(ErrorWith({{"use_rslora", "yes"}}), "field 'use_rslora': must be true or false");
  EXPECT_EQ(ErrorWith({{"rank_pattern", {{"q", 0}}}}), "field 'rank_pattern': 'q' is not a rank");
  EXPECT_EQ(ErrorWith({{"rank_pattern", {{"q", 1.5}}}}), "field 'rank_pattern': 'q' is not a rank");
  EXPECT_EQ(ErrorWith({{"alpha_pattern", {{"q", "x"}}}}), "field 'alpha_pattern': 'q' is not a number");
  EXPECT_EQ(ErrorWith({{"alpha_pattern", {1}}}),
            "field 'alpha_pattern': must be an object of patterns and numbers");
  EXPECT_THAT(ErrorWith({{"alpha_pattern", {{"(", 1}}}}),
              StartsWith("field 'alpha_pattern': pattern '(' is not"));
  EXPECT_EQ(With({{"lora_alpha", 1e300}})->ScaleOf(kPath).status().message(),
            "lora_alpha of adapter_config.json gives an infinite scale");
}

TEST(ParseAdapterConfig, NotAnObject) {
  EXPECT_EQ(ParseAdapterConfig("[]").status().message(), "must be a JSON object");
  EXPECT_EQ(ParseAdapterConfig("{").status().message(), "is not JSON at byte 2");
  EXPECT_EQ(ParseAdapterConfig(R"({"r": 1, "r": 2})").status().message(), "has the key 'r' twice");
}

}  // namespace
}  // namespace hydrad
