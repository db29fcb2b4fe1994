#include "server/front/validate.h"

#include <fmt/core.h>

#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "server/adapters/formats/moa_config.h"  // IsExpertName
#include "server/front/checker.h"
#include "server/front/validate_chat.h"

namespace hydrad {
namespace {

constexpr size_t kMaxLogitBias = 1024;
constexpr size_t kMaxStopStrings = 16;
constexpr size_t kMaxStopBytes = 256;
constexpr size_t kMaxStopIds = 64;
constexpr int kMaxLogprobs = 20;
constexpr int kMaxChoices = 16;
constexpr size_t kMaxComposed = 8;
constexpr float kMaxWeight = 100;
constexpr int kMaxTopExperts = 1024;
constexpr size_t kMaxFormChoices = 1024;
constexpr size_t kMaxLabels = 64;
constexpr size_t kMaxLabelBytes = 1024;

void CheckIds(const std::vector<int32_t>& ids, const RequestLimits& limits, Checker& check) {
  check.Expect(!ids.empty(), "token_ids.ids", "must not be empty");
  for (size_t i = 0; i < ids.size(); ++i) {
    check.Token(ids[i], limits.vocab_size, fmt::format("token_ids.ids[{}]", i));
  }
}

void CheckPrompt(const GenerateCall& call, const RequestLimits& limits, Checker& check) {
  if (const auto* text = std::get_if<std::string>(&call.prompt)) {
    check.Expect(!text->empty(), "text", "must not be empty");
    check.Text(*text, limits.max_prompt_bytes, "text");
  } else if (const auto* ids = std::get_if<std::vector<int32_t>>(&call.prompt)) {
    CheckIds(*ids, limits, check);
  } else if (const auto* chat = std::get_if<ChatPrompt>(&call.prompt)) {
    CheckChat(*chat, limits, check);
  } else {
    check.Fail("prompt", "must be set: text or token_ids");
  }
}

void CheckAdapters(const GenerateCall& call, Checker& check) {
  if (!call.adapter.empty()) check.AdapterName(call.adapter, "adapter");
  check.Expect(call.adapter.empty() || call.adapters.empty(), "adapters",
               "must be empty when adapter is set");
  if (call.adapter_top_k) {
    check.Within(*call.adapter_top_k, 1, kMaxTopExperts, "adapter_top_k");
    check.Expect(!call.adapter.empty() || !call.adapters.empty(), "adapter_top_k", "needs an adapter");
  }
  if (call.adapters.size() > kMaxComposed) {
    check.Fail("adapters",
               fmt::format("has {} adapters: at most {} are taken", call.adapters.size(), kMaxComposed));
    return;
  }
  std::set<std::string_view> names;
  for (size_t i = 0; i < call.adapters.size(); ++i) {
    const AdapterWeight& adapter = call.adapters[i];
    check.AdapterName(adapter.name, fmt::format("adapters[{}].name", i));
    check.Expect(names.insert(adapter.name).second, fmt::format("adapters[{}].name", i), "is there twice");
    if (adapter.weight)
      check.Within(*adapter.weight, -kMaxWeight, kMaxWeight, fmt::format("adapters[{}].weight", i));
  }
}

void CheckSampling(const SamplingFields& s, const RequestLimits& limits, Checker& check) {
  if (s.temperature) check.Within(*s.temperature, 0.f, 100.f, "sampling.temperature");
  if (s.top_p) check.Positive(*s.top_p, 1, "sampling.top_p");
  if (s.top_k) check.Expect(*s.top_k >= 0, "sampling.top_k", "must not be negative");
  if (s.min_p) check.Within(*s.min_p, 0.f, 1.f, "sampling.min_p");
  if (s.repetition_penalty) check.Positive(*s.repetition_penalty, 10, "sampling.repetition_penalty");
  if (s.presence_penalty) check.Within(*s.presence_penalty, -2.f, 2.f, "sampling.presence_penalty");
  if (s.frequency_penalty) check.Within(*s.frequency_penalty, -2.f, 2.f, "sampling.frequency_penalty");
  if (s.n) check.Within(*s.n, 1, kMaxChoices, "sampling.n");
  if (s.logit_bias.size() > kMaxLogitBias) {
    check.Fail("sampling.logit_bias",
               fmt::format("has {} entries: at most {} are taken", s.logit_bias.size(), kMaxLogitBias));
    return;
  }
  for (const auto& [token, bias] : s.logit_bias) {
    const std::string field = fmt::format("sampling.logit_bias[{}]", token);
    check.Token(token, limits.vocab_size, field);
    check.Within(bias, -100.f, 100.f, field);
  }
}

void CheckStopStrings(const std::vector<std::string>& stop, Checker& check) {
  if (stop.size() > kMaxStopStrings) {
    check.Fail("stopping.stop",
               fmt::format("has {} strings: at most {} are taken", stop.size(), kMaxStopStrings));
    return;
  }
  for (size_t i = 0; i < stop.size(); ++i) {
    const std::string field = fmt::format("stopping.stop[{}]", i);
    check.Expect(!stop[i].empty(), field, "must not be empty");
    check.Text(stop[i], kMaxStopBytes, field);
  }
}

void CheckStopping(const StoppingFields& s, const RequestLimits& limits, Checker& check) {
  if (s.max_tokens) check.Expect(*s.max_tokens >= 1, "stopping.max_tokens", "must be at least 1");
  const int min_tokens = s.min_tokens.value_or(0);
  check.Expect(min_tokens >= 0, "stopping.min_tokens", "must not be negative");
  check.Expect(!s.min_tokens || min_tokens <= s.max_tokens.value_or(kDefaultMaxTokens), "stopping.min_tokens",
               "must be at most stopping.max_tokens");
  CheckStopStrings(s.stop, check);
  const std::vector<int32_t>& ids = s.stop_token_ids;
  if (ids.size() > kMaxStopIds) {
    check.Fail("stopping.stop_token_ids",
               fmt::format("has {} ids: at most {} are taken", ids.size(), kMaxStopIds));
    return;
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    check.Token(ids[i], limits.vocab_size, fmt::format("stopping.stop_token_ids[{}]", i));
  }
  const std::set<int32_t> banned(ids.begin(), ids.end());
  check.Expect(min_tokens <= 0 || static_cast<int>(banned.size()) < limits.vocab_size,
               "stopping.stop_token_ids", "must leave a token that may come before stopping.min_tokens");
}

void CheckForm(const AnswerForm& form, Checker& check) {
  switch (form.kind) {
    case AnswerForm::Kind::kJsonObject:
      return;
    case AnswerForm::Kind::kJsonSchema:
    case AnswerForm::Kind::kRegex:
    case AnswerForm::Kind::kEbnf: {
      const bool schema = form.kind == AnswerForm::Kind::kJsonSchema;
      const char* const field = schema                                  ? "form.json_schema"
                                : form.kind == AnswerForm::Kind::kRegex ? "form.regex"
                                                                        : "form.grammar";
      check.Expect(!form.text.empty(), field, "must not be empty");
      check.Text(form.text, kMaxFormBytes, field);
      return;
    }
    case AnswerForm::Kind::kChoice:
      break;
  }
  const size_t count = form.choices.size();
  check.Expect(count > 0, "form.choice.texts", "must not be empty");
  if (count > kMaxFormChoices) {
    check.Fail("form.choice.texts",
               fmt::format("has {} texts: at most {} are taken", count, kMaxFormChoices));
    return;
  }
  size_t bytes = 0;
  for (size_t i = 0; i < count; ++i) {
    const std::string field = fmt::format("form.choice.texts[{}]", i);
    check.Expect(!form.choices[i].empty(), field, "must not be empty");
    check.Text(form.choices[i], kMaxFormBytes, field);
    bytes += form.choices[i].size();
  }
  check.Expect(bytes <= kMaxFormBytes, "form.choice.texts",
               fmt::format("have {} bytes together: at most {} are taken", bytes, kMaxFormBytes));
}

void CheckLabels(const std::vector<std::string>& labels, Checker& check) {
  if (labels.size() > kMaxLabels) {
    check.Fail("labels", fmt::format("has {} texts: at most {} are taken", labels.size(), kMaxLabels));
    return;
  }
  std::set<std::string_view> known;
  for (size_t i = 0; i < labels.size(); ++i) {
    const std::string field = fmt::format("labels[{}]", i);
    check.Expect(!labels[i].empty(), field, "must not be empty");
    check.Text(labels[i], kMaxLabelBytes, field);
    check.Expect(known.insert(labels[i]).second, field, "is there twice");
  }
}

bool IsKnown(Decision decision) {
  switch (decision) {
    case Decision::kLabel:
    case Decision::kLast:
    case Decision::kVote:
    case Decision::kLayer:
      return true;
  }
  return false;
}

// Whether the adapter has experts, and which, is known when the request starts: an adapter may be replaced or
// not be there yet.
void CheckExpert(const GenerateCall& call, Checker& check) {
  const std::optional<Decision>& decision = call.decision;
  const bool any = !call.expert.empty();
  if (call.adapter.empty() && call.adapters.empty()) {
    check.Expect(!any, "expert", "is of an adapter: the base model has none");
    check.Expect(!decision, "decision", "is for an adapter's experts: the base model has none");
    return;
  }
  if (any) {
    check.Expect(IsExpertName(call.expert), "expert", "must be 1 to 64 of the characters a-z A-Z 0-9 _ -");
  }
  check.Expect(!decision || IsKnown(*decision), "decision", "is not one of those that are known");
  if (decision == Decision::kLabel)
    check.Expect(any, "expert", "must name the expert that decision LABEL uses");
  if (any) {
    check.Expect(!decision || decision == Decision::kLabel, "decision",
                 "must be LABEL, or left out, where an expert is named");
  }
}

}  // namespace

absl::Status Validate(const GenerateCall& call, const RequestLimits& limits) {
  const auto* ids = std::get_if<std::vector<int32_t>>(&call.prompt);
  if (ids != nullptr && static_cast<int64_t>(ids->size()) >= limits.max_context)
    return BeyondContext("token_ids.ids", ids->size(), limits.max_context);
  Checker check;
  CheckPrompt(call, limits, check);
  CheckAdapters(call, check);
  CheckExpert(call, check);
  CheckSampling(call.sampling, limits, check);
  CheckStopping(call.stopping, limits, check);
  if (call.form) CheckForm(*call.form, check);
  CheckLabels(call.labels, check);
  const OutputFields& output = call.output;
  if (output.logprobs) check.Within(*output.logprobs, 0, kMaxLogprobs, "output.logprobs");
  if (output.prompt_logprobs) {
    check.Within(*output.prompt_logprobs, 0, kMaxLogprobs, "output.prompt_logprobs");
  }
  return check.Result();
}

absl::Status Validate(const TokenizeCall& call, const RequestLimits& limits) {
  Checker check;
  check.Text(call.text, limits.max_prompt_bytes, "text");
  if (!call.adapter.empty()) check.AdapterName(call.adapter, "adapter");
  return check.Result();
}

absl::Status Validate(const DetokenizeCall& call, const RequestLimits& limits) {
  Checker check;
  const std::vector<int32_t>& ids = call.token_ids;
  if (ids.size() > limits.max_prompt_bytes) {
    check.Fail("token_ids",
               fmt::format("has {} ids: at most {} are taken", ids.size(), limits.max_prompt_bytes));
    return check.Result();
  }
  for (size_t i = 0; i < ids.size(); ++i)
    check.Token(ids[i], limits.vocab_size, fmt::format("token_ids[{}]", i));
  return check.Result();
}

}  // namespace hydrad
