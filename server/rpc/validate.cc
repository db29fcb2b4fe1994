#include "server/rpc/validate.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "server/adapters/formats/moa_config.h"  // IsExpertName
#include "server/base/names.h"
#include "server/front/error_details.h"
#include "server/text/tokenizer/utf8.h"  // IsUtf8

namespace hydrad {
namespace {

constexpr int kMaxLogitBias = 1024;
constexpr int kMaxStopStrings = 16;
constexpr size_t kMaxStopBytes = 256;
constexpr int kMaxStopIds = 64;
constexpr int kMaxLogprobs = 20;
constexpr int kMaxChoices = 16;
constexpr int kMaxComposed = 8;
constexpr float kMaxWeight = 100;
constexpr int kMaxTopExperts = 1024;
constexpr size_t kMaxPathBytes = 1024;
constexpr size_t kMaxPageToken = 256;
constexpr size_t kMaxEtag = 128;
constexpr size_t kMaxRequestId = 128;
constexpr int kMaxWanted = 10'000;

// Gathers violations; a check reads as one line.
class Checker {
 public:
  void Fail(std::string field, std::string description) {
    if (violations_.size() < kMaxViolations)
      violations_.push_back({std::move(field), std::move(description)});
  }
  void Expect(bool holds, std::string_view field, std::string_view description) {
    if (!holds) Fail(std::string(field), std::string(description));
  }
  // NaN is in no interval.
  template <class T>
  void Within(T value, T low, T high, std::string_view field) {
    if (!(value >= low && value <= high))
      Fail(std::string(field), fmt::format("must be in [{}, {}]", low, high));
  }
  // (0, high]
  void Positive(float value, float high, std::string_view field) {
    if (!(value > 0 && value <= high)) Fail(std::string(field), fmt::format("must be in (0, {}]", high));
  }
  void Token(int32_t id, int vocab_size, std::string field) {
    if (id < 0 || id >= vocab_size) {
      Fail(std::move(field), fmt::format("is {}: the vocabulary has ids 0 to {}", id, vocab_size - 1));
    }
  }
  void Text(std::string_view text, size_t max_bytes, std::string_view field) {
    if (text.size() > max_bytes) {
      Fail(std::string(field), fmt::format("has {} bytes: at most {} are taken", text.size(), max_bytes));
    } else {
      Expect(IsUtf8(text), field, "must be UTF-8");
    }
  }
  void AdapterName(std::string_view name, std::string_view field) {
    Expect(IsAdapterName(name), field, kAdapterNameRule);
  }
  absl::Status Result() const { return BadFields(violations_); }

 private:
  std::vector<FieldViolation> violations_;
};

void CheckPrompt(const v1::GenerateRequest& request, const RequestLimits& limits, Checker& check) {
  switch (request.prompt_case()) {
    case v1::GenerateRequest::kText:
      check.Expect(!request.text().empty(), "text", "must not be empty");
      check.Text(request.text(), limits.max_prompt_bytes, "text");
      return;
    case v1::GenerateRequest::kTokenIds: {
      const auto& ids = request.token_ids().ids();
      check.Expect(!ids.empty(), "token_ids.ids", "must not be empty");
      if (ids.size() >= limits.max_context) {
        check.Fail("token_ids.ids",
                   fmt::format("has {} tokens: a prompt may have at most {}, so that one more fits "
                               "the context",
                               ids.size(), limits.max_context - 1));
        return;
      }
      for (int i = 0; i < ids.size(); ++i) {
        check.Token(ids[i], limits.vocab_size, fmt::format("token_ids.ids[{}]", i));
      }
      return;
    }
    case v1::GenerateRequest::PROMPT_NOT_SET:
      check.Fail("prompt", "must be set: text or token_ids");
  }
}

void CheckAdapters(const v1::GenerateRequest& request, Checker& check) {
  if (!request.adapter().empty()) check.AdapterName(request.adapter(), "adapter");
  check.Expect(request.adapter().empty() || request.adapters().empty(), "adapters",
               "must be empty when adapter is set");
  if (request.has_adapter_top_k()) {
    check.Within(request.adapter_top_k(), 1, kMaxTopExperts, "adapter_top_k");
    check.Expect(!request.adapter().empty() || !request.adapters().empty(), "adapter_top_k",
                 "needs an adapter");
  }
  if (request.adapters_size() > kMaxComposed) {
    check.Fail("adapters",
               fmt::format("has {} adapters: at most {} are taken", request.adapters_size(), kMaxComposed));
    return;
  }
  std::set<std::string_view> names;
  for (int i = 0; i < request.adapters_size(); ++i) {
    const v1::WeightedAdapter& adapter = request.adapters(i);
    check.AdapterName(adapter.name(), fmt::format("adapters[{}].name", i));
    check.Expect(names.insert(adapter.name()).second, fmt::format("adapters[{}].name", i), "is there twice");
    if (adapter.has_weight())
      check.Within(adapter.weight(), -kMaxWeight, kMaxWeight, fmt::format("adapters[{}].weight", i));
  }
}

void CheckSampling(const v1::Sampling& s, const RequestLimits& limits, Checker& check) {
  if (s.has_temperature()) check.Within(s.temperature(), 0.f, 100.f, "sampling.temperature");
  if (s.has_top_p()) check.Positive(s.top_p(), 1, "sampling.top_p");
  if (s.has_top_k()) check.Expect(s.top_k() >= 0, "sampling.top_k", "must not be negative");
  if (s.has_min_p()) check.Within(s.min_p(), 0.f, 1.f, "sampling.min_p");
  if (s.has_repetition_penalty()) check.Positive(s.repetition_penalty(), 10, "sampling.repetition_penalty");
  if (s.has_presence_penalty()) check.Within(s.presence_penalty(), -2.f, 2.f, "sampling.presence_penalty");
  if (s.has_frequency_penalty()) check.Within(s.frequency_penalty(), -2.f, 2.f, "sampling.frequency_penalty");
  if (s.has_n()) check.Within(s.n(), 1, kMaxChoices, "sampling.n");
  if (s.logit_bias().size() > kMaxLogitBias) {
    check.Fail("sampling.logit_bias",
               fmt::format("has {} entries: at most {} are taken", s.logit_bias().size(), kMaxLogitBias));
    return;
  }
  for (const auto& [token, bias] : s.logit_bias()) {
    const std::string field = fmt::format("sampling.logit_bias[{}]", token);
    check.Token(token, limits.vocab_size, field);
    check.Within(bias, -100.f, 100.f, field);
  }
}

void CheckStopping(const v1::Stopping& s, const RequestLimits& limits, Checker& check) {
  if (s.has_max_tokens()) check.Expect(s.max_tokens() >= 1, "stopping.max_tokens", "must be at least 1");
  if (s.has_min_tokens()) {
    check.Expect(s.min_tokens() >= 0, "stopping.min_tokens", "must not be negative");
    const int max_tokens = s.has_max_tokens() ? s.max_tokens() : kDefaultMaxTokens;
    check.Expect(s.min_tokens() <= max_tokens, "stopping.min_tokens", "must be at most stopping.max_tokens");
  }
  if (s.stop_size() > kMaxStopStrings) {
    check.Fail("stopping.stop",
               fmt::format("has {} strings: at most {} are taken", s.stop_size(), kMaxStopStrings));
  } else {
    for (int i = 0; i < s.stop_size(); ++i) {
      const std::string field = fmt::format("stopping.stop[{}]", i);
      check.Expect(!s.stop(i).empty(), field, "must not be empty");
      check.Text(s.stop(i), kMaxStopBytes, field);
    }
  }
  if (s.stop_token_ids_size() > kMaxStopIds) {
    check.Fail("stopping.stop_token_ids",
               fmt::format("has {} ids: at most {} are taken", s.stop_token_ids_size(), kMaxStopIds));
  } else {
    for (int i = 0; i < s.stop_token_ids_size(); ++i) {
      check.Token(s.stop_token_ids(i), limits.vocab_size, fmt::format("stopping.stop_token_ids[{}]", i));
    }
    const std::set<int32_t> banned(s.stop_token_ids().begin(), s.stop_token_ids().end());
    check.Expect(s.min_tokens() <= 0 || static_cast<int>(banned.size()) < limits.vocab_size,
                 "stopping.stop_token_ids", "must leave a token that may come before stopping.min_tokens");
  }
}

// Whether the adapter has experts, and which, is known when the request starts: an adapter may be replaced or
// not be there yet.
void CheckExpert(const v1::GenerateRequest& request, Checker& check) {
  const v1::Decision decision = request.decision();
  const bool any = !request.expert().empty();
  if (request.adapter().empty() && request.adapters().empty()) {
    check.Expect(!any, "expert", "is of an adapter: the base model has none");
    check.Expect(decision == v1::DECISION_UNSPECIFIED, "decision",
                 "is for an adapter's experts: the base model has none");
    return;
  }
  if (any) {
    check.Expect(IsExpertName(request.expert()), "expert",
                 "must be 1 to 64 of the characters a-z A-Z 0-9 _ -");
  }
  check.Expect(v1::Decision_IsValid(decision), "decision", "is not one of those that are known");
  if (decision == v1::DECISION_LABEL)
    check.Expect(any, "expert", "must name the expert that decision LABEL uses");
  if (any) {
    check.Expect(decision == v1::DECISION_UNSPECIFIED || decision == v1::DECISION_LABEL, "decision",
                 "must be LABEL, or left out, where an expert is named");
  }
}

// No component that leaves the root. The store opens beneath the root in any case, and knows which absolute
// paths are there: this names the field.
bool StaysBeneath(std::string_view path) {
  if (path.empty() || path.find('\0') != std::string_view::npos) return false;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    if (path.substr(begin, end - begin) == "..") return false;
    begin = end + 1;
  }
  return true;
}

void CheckPath(std::string_view path, std::string_view field, Checker& check) {
  check.Text(path, kMaxPathBytes, field);
  check.Expect(StaysBeneath(path), field,
               "must be a directory under the server's adapter root, without '..'");
}

// Both may be left out.
void CheckTags(std::string_view etag, std::string_view request_id, Checker& check) {
  check.Text(etag, kMaxEtag, "etag");
  const bool printable =
      std::all_of(request_id.begin(), request_id.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  check.Expect(request_id.size() <= kMaxRequestId && printable, "request_id",
               "must be at most 128 printable ASCII characters, without spaces");
}

absl::Status CheckChange(std::string_view name, std::string_view etag, std::string_view request_id) {
  Checker check;
  check.AdapterName(name, "name");
  CheckTags(etag, request_id, check);
  return check.Result();
}

}  // namespace

absl::Status Validate(const v1::GenerateRequest& request, const RequestLimits& limits) {
  Checker check;
  CheckPrompt(request, limits, check);
  CheckAdapters(request, check);
  CheckExpert(request, check);
  CheckSampling(request.sampling(), limits, check);
  CheckStopping(request.stopping(), limits, check);
  const v1::Output& output = request.output();
  if (output.has_logprobs()) check.Within(output.logprobs(), 0, kMaxLogprobs, "output.logprobs");
  if (output.has_prompt_logprobs()) {
    check.Within(output.prompt_logprobs(), 0, kMaxLogprobs, "output.prompt_logprobs");
  }
  return check.Result();
}

absl::Status Validate(const v1::TokenizeRequest& request, const RequestLimits& limits) {
  Checker check;
  check.Text(request.text(), limits.max_prompt_bytes, "text");
  return check.Result();
}

absl::Status Validate(const v1::DetokenizeRequest& request, const RequestLimits& limits) {
  Checker check;
  const auto& ids = request.token_ids();
  if (ids.size() > static_cast<int64_t>(limits.max_prompt_bytes)) {
    check.Fail("token_ids",
               fmt::format("has {} ids: at most {} are taken", ids.size(), limits.max_prompt_bytes));
    return check.Result();
  }
  for (int i = 0; i < ids.size(); ++i)
    check.Token(ids[i], limits.vocab_size, fmt::format("token_ids[{}]", i));
  return check.Result();
}

absl::Status Validate(const v1::LoadAdapterRequest& request) {
  Checker check;
  check.AdapterName(request.name(), "name");
  CheckPath(request.path(), "path", check);
  CheckTags(request.etag(), request.request_id(), check);
  return check.Result();
}

absl::Status Validate(const v1::GetAdapterRequest& request) { return CheckChange(request.name(), "", ""); }
absl::Status Validate(const v1::UnloadAdapterRequest& request) {
  return CheckChange(request.name(), request.etag(), request.request_id());
}
absl::Status Validate(const v1::PinAdapterRequest& request) {
  return CheckChange(request.name(), "", request.request_id());
}
absl::Status Validate(const v1::UnpinAdapterRequest& request) {
  return CheckChange(request.name(), "", request.request_id());
}

absl::Status Validate(const v1::ApplyAdaptersRequest& request) {
  Checker check;
  CheckTags("", request.request_id(), check);
  if (request.adapters_size() > kMaxWanted) {
    check.Fail("adapters",
               fmt::format("has {} adapters: at most {} are taken", request.adapters_size(), kMaxWanted));
    return check.Result();
  }
  for (int i = 0; i < request.adapters_size(); ++i) {
    const v1::WantedAdapter& wanted = request.adapters(i);
    const std::string field = fmt::format("adapters[{}].", i);
    check.AdapterName(wanted.name(), field + "name");
    CheckPath(wanted.path(), field + "path", check);
    check.Text(wanted.etag(), kMaxEtag, field + "etag");
  }
  return check.Result();
}

absl::Status Validate(const v1::ListAdaptersRequest& request) {
  Checker check;
  check.Within(request.page_size(), 0, 1000, "page_size");  // 0, unset, is the default
  check.Text(request.page_token(), kMaxPageToken, "page_token");
  return check.Result();
}

}  // namespace hydrad
