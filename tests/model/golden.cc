#include "tests/model/golden.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "server/backend/cpu/cpu_backend.h"
#include "server/base/check.h"
#include "server/base/file.h"
#include "server/model/safetensors.h"
#include "tests/model/stepper.h"

namespace hydrad {
namespace {

constexpr const char* kCases = "tests/golden/cases";
constexpr const char* kSmollm2 = "build/models/smollm2";

template <class V>
std::vector<V> Values(const Safetensors& file, const std::string& name) {
  const TensorInfo* tensor = file.Find(name);
  if (tensor == nullptr) return {};
  std::vector<V> values(tensor->data.size() / sizeof(V));
  std::memcpy(values.data(), tensor->data.data(), tensor->data.size());
  return values;
}

std::vector<GoldenLogit> Logits(const Safetensors& file, const std::string& prompt) {
  std::vector<GoldenLogit> result;
  const auto whole = Values<float>(file, prompt + "logits");
  const auto positions = Values<int32_t>(file, prompt + "positions");
  const size_t vocab = positions.empty() ? 0 : whole.size() / positions.size();
  for (size_t i = 0; i < whole.size(); ++i) {
    result.push_back({positions[i / vocab], static_cast<int>(i % vocab), whole[i]});
  }
  const auto sparse = Values<float>(file, prompt + "sparse_logits");
  const auto rows = Values<int32_t>(file, prompt + "sparse_positions");
  const auto columns = Values<int32_t>(file, prompt + "sparse_columns");
  for (size_t i = 0; i < sparse.size(); ++i) {
    result.push_back({rows[i / (sparse.size() / rows.size())], columns[i], sparse[i]});
  }
  return result;
}

int ArgMax(const std::vector<float>& logits) {
  return static_cast<int>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// The prompt in one step, once more if that was for the routers, then the reference's own continuation token
// by token: logits of every position.
std::vector<std::vector<float>> Run(Transformer& model, const GoldenPrompt& prompt, const Adapt& adapt,
                                    int positions) {
  BlockPool pool(model.limits().kv_blocks);
  TestSequence sequence{.tokens = prompt.ids};
  adapt(prompt, sequence);
  sequence.continuation = prompt.greedy;
  const int total = std::min<int>(positions, static_cast<int>(prompt.ids.size() + prompt.greedy.size()));
  const Chunk first{&sequence, std::min<int>(total, static_cast<int>(prompt.ids.size()))};
  auto logits = RunStep(model, pool, {&first, 1});
  if (logits.empty()) logits = RunStep(model, pool, {&first, 1});
  while (sequence.computed() < total) {
    const Chunk next{&sequence, 1};
    logits.push_back(RunStep(model, pool, {&next, 1}).front());
  }
  return logits;
}

void CheckPrompt(const GoldenPrompt& prompt, const std::vector<std::vector<float>>& logits, float bound,
                 const std::string& where) {
  float worst = 0;
  GoldenLogit at{};
  for (const GoldenLogit& golden : prompt.logits) {
    if (golden.position >= static_cast<int>(logits.size())) continue;
    const float error = std::abs(logits[golden.position][golden.token] - golden.value);
    if (!(error <= worst)) worst = error, at = golden;
  }
  EXPECT_LE(worst, bound) << where << ": worst at position " << at.position << ", token " << at.token << ", "
                          << at.value;
  for (size_t i = 0; i < prompt.greedy.size() && prompt.ids.size() - 1 + i < logits.size(); ++i) {
    if (prompt.margins[i] <= 2 * bound) continue;
    EXPECT_EQ(ArgMax(logits[prompt.ids.size() - 1 + i]), prompt.greedy[i]) << where << ": greedy token " << i;
  }
  std::printf("%s: %zu logits, worst error %.3g of %.3g allowed\n", where.c_str(), prompt.logits.size(),
              worst, bound);
}

}  // namespace

std::vector<std::string> MoaGoldenNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kCases)) {
    if (entry.path().extension() != ".json") continue;
    const auto json = nlohmann::json::parse(std::ifstream(entry.path()));
    if (json.contains("decision") && !json["decision"].is_null()) names.push_back(entry.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> GoldenNames(bool adapter, bool smollm2) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kCases)) {
    if (entry.path().extension() != ".json") continue;
    const auto json = nlohmann::json::parse(std::ifstream(entry.path()));
    const std::string name = entry.path().stem();
    if (json["adapter"].is_null() == adapter || (json["model"] == kSmollm2) != smollm2) continue;
    if (json.contains("decision") && !json["decision"].is_null()) continue;
    names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

GoldenCase LoadGolden(const std::string& name) {
  const std::string stem = std::string(kCases) + "/" + name;
  const auto json = nlohmann::json::parse(std::ifstream(stem + ".json"));
  const auto bytes = ReadFile(stem + ".safetensors");
  HYDRAD_CHECK(bytes.ok());
  const auto file = Safetensors::ParseBytes(std::as_bytes(std::span(*bytes)), Safetensors::kMaxModelHeader);
  HYDRAD_CHECK(file.ok());
  GoldenCase golden{
      .name = name, .model = json["model"], .adapters = {}, .weights = {}, .prompts = {}, .decision = {}};
  if (json["adapter"].is_string()) golden.adapters = {json["adapter"]};
  if (json["adapter"].is_array()) golden.adapters = json["adapter"];
  golden.weights = json.value("weights", std::vector<float>(golden.adapters.size(), 1));
  golden.top_k = json.value("top_k", 0);
  if (json.contains("decision") && !json["decision"].is_null()) {
    golden.decision = ParseDecision(json["decision"].get<std::string>());
    HYDRAD_CHECK(golden.decision.has_value());
    if (golden.decision == Decision::kLabel) golden.label = json["label"];
  }
  for (const auto& prompt : json["prompts"]) {
    const std::string prefix = fmt::format("prompt{}.", golden.prompts.size());
    const float f32_bound = std::min(8 * prompt["float64_max_abs_error"].get<float>(), 1e-3f);
    const float rounded = prompt["rounded_max_abs_error"].get<float>() + f32_bound;
    golden.prompts.push_back(
        {prompt["ids"], prompt["greedy"]["ids"], prompt["greedy"]["margins"], f32_bound,
         prompt["bf16_max_abs_error"], std::max(prompt["bf16_max_abs_error"].get<float>(), rounded),
         Logits(*file, prefix),
         prompt.contains("route") && !prompt["route"].is_null() ? prompt["route"].get<std::vector<int>>()
                                                                : std::vector<int>(),
         prompt["text"].is_null() ? "" : prompt["text"].get<std::string>()});
    HYDRAD_CHECK(!golden.prompts.back().logits.empty());
  }
  HYDRAD_CHECK(!golden.prompts.empty());
  return golden;
}

Adapt AdaptBy(const GoldenCase& golden, std::span<const DeviceAdapter* const> adapters,
              std::span<const int32_t> invocation) {
  return [&golden, adapters, invocation](const GoldenPrompt&, TestSequence& sequence) {
    sequence.invocation.assign(invocation.begin(), invocation.end());
    sequence.top_k = golden.top_k;
    for (size_t i = 0; i < adapters.size(); ++i) {
      if (i > 0) sequence.more.push_back({adapters[i], golden.weights[i]});
      if (i == 0) sequence.adapter = adapters[i], sequence.weight = golden.weights[i];
    }
  };
}

void CheckGolden(const GoldenCase& golden, Transformer& model, std::span<const DeviceAdapter* const> adapters,
                 bool bf16, int positions, std::span<const int32_t> invocation) {
  CheckGolden(golden, model, AdaptBy(golden, adapters, invocation), bf16, positions);
}

void CheckGolden(const GoldenCase& golden, Transformer& model, const Adapt& adapt, bool bf16, int positions) {
  for (size_t i = 0; i < golden.prompts.size(); ++i) {
    const GoldenPrompt& prompt = golden.prompts[i];
    const auto logits = Run(model, prompt, adapt, positions);
    const std::string where = fmt::format("{} {} prompt {}", golden.name, bf16 ? "bf16" : "f32", i);
    CheckPrompt(prompt, logits, bf16 ? prompt.bf16_bound : prompt.f32_bound, where);
  }
}

std::string Smollm2Dir() {
  const char* dir = std::getenv("HYDRAD_MODEL_DIR");
  return dir != nullptr ? dir : kSmollm2;
}

std::string ModelDir(const GoldenCase& golden) {
  return golden.model == kSmollm2 ? Smollm2Dir() : golden.model;
}

void CheckBaseGolden(const std::string& name, DType weight_type) {
  const GoldenCase golden = LoadGolden(name);
  const auto backend = MakeCpuBackend({.threads = 2, .weight_type = weight_type});
  auto model =
      LoadTransformer(ModelDir(golden), *backend, {.max_rows = 256, .max_logit_rows = 256, .kv_blocks = 64});
  ASSERT_TRUE(model.ok()) << model.status();
  CheckGolden(golden, **model, std::span<const DeviceAdapter* const>(), weight_type == DType::kBf16,
              (*model)->limits().max_context);
}

}  // namespace hydrad
