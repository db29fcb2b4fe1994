#include "server/front/error_details.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <utility>

#include "server/base/invalid_argument.h"
#include "server/base/reason.h"

namespace hydrad {
namespace {

// Beside the reason's, the payloads of a status. Pairs are written as two texts, each behind its length and a
// colon: what a client sent may stand in them, whatever bytes it has.
constexpr char kMetadata[] = "hydrad/metadata", kRetry[] = "hydrad/retry", kFields[] = "hydrad/fields";

// Who does not know better says so of UNAVAILABLE.
constexpr Duration kRetryUnavailable = std::chrono::seconds(1);

using Pair = std::pair<std::string, std::string>;

void PutPair(std::string_view first, std::string_view second, std::string* out) {
  for (const std::string_view text : {first, second}) {
    out->append(std::to_string(text.size())).append(":").append(text);
  }
}

// Takes the next text of PutPair's.
std::string TakeText(std::string_view* rest) {
  size_t size = 0;
  const char* const colon = std::from_chars(rest->data(), rest->data() + rest->size(), size).ptr;
  rest->remove_prefix(static_cast<size_t>(colon - rest->data()) + 1);
  std::string text(rest->substr(0, size));
  rest->remove_prefix(size);
  return text;
}

std::vector<Pair> PairsOf(const absl::Status& status, const char* payload) {
  const auto cord = status.GetPayload(payload);
  if (!cord) return {};
  const std::string all(*cord);
  std::vector<Pair> pairs;
  for (std::string_view rest = all; !rest.empty();) {
    std::string first = TakeText(&rest);
    pairs.emplace_back(std::move(first), TakeText(&rest));
  }
  return pairs;
}

}  // namespace

absl::Status WithReason(absl::Status status, std::string_view reason,
                        const std::map<std::string, std::string>& metadata) {
  std::string pairs;
  for (const auto& [key, value] : metadata) PutPair(key, value, &pairs);
  if (pairs.empty()) {
    status.ErasePayload(kMetadata);
  } else {
    status.SetPayload(kMetadata, absl::Cord(std::move(pairs)));
  }
  return Because(std::move(status), std::string(reason));
}

absl::Status WithRetry(absl::Status status, Duration delay) {
  status.SetPayload(kRetry, absl::Cord(std::to_string(std::max<int64_t>(delay.count(), 0))));
  return status;
}

absl::Status BadFields(const std::vector<FieldViolation>& violations) {
  if (violations.empty()) return absl::OkStatus();
  std::string text = fmt::format("{} {}", violations[0].field, violations[0].description);
  if (violations.size() > 1) text += fmt::format(" (and {} more)", violations.size() - 1);
  std::string pairs;
  for (const FieldViolation& violation : violations) PutPair(violation.field, violation.description, &pairs);
  absl::Status status = WithReason(InvalidArgument("{}", text), "INVALID_FIELD");
  status.SetPayload(kFields, absl::Cord(std::move(pairs)));
  return status;
}

absl::Status BeyondContext(std::string_view field, size_t tokens, int max_context) {
  const absl::Status bad = BadFields(
      {{std::string(field),
        fmt::format("has {} tokens: a prompt may have at most {}, so that one more fits the context", tokens,
                    max_context - 1)}});
  return WithReason(bad, ReasonOf(bad), {{"max_context", std::to_string(max_context)}});
}

std::string ReasonOf(const absl::Status& status) {
  if (const auto given = ReasonGiven(status)) return *given;
  return absl::StatusCodeToString(status.code());
}

ErrorDetails DetailsOf(const absl::Status& status) {
  ErrorDetails details{.reason = ReasonOf(status), .metadata = {}, .retry = std::nullopt, .violations = {}};
  for (Pair& pair : PairsOf(status, kMetadata)) details.metadata.insert(std::move(pair));
  for (Pair& pair : PairsOf(status, kFields))
    details.violations.push_back({std::move(pair.first), std::move(pair.second)});
  if (const auto payload = status.GetPayload(kRetry)) {
    const std::string nanos(*payload);
    int64_t count = 0;
    std::from_chars(nanos.data(), nanos.data() + nanos.size(), count);
    details.retry = Duration(count);
  } else if (absl::IsUnavailable(status)) {
    details.retry = kRetryUnavailable;
  }
  return details;
}

}  // namespace hydrad
