#include "server/adapters/formats/pattern_table.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr size_t kMaxPatterns = 4096;
constexpr size_t kMaxPatternBytes = 1000;
// The steps that one match may take. An honest pattern over a path of 40 characters needs some hundred.
constexpr uint32_t kMatchLimit = 20'000, kDepthLimit = 1'000, kHeapLimitKib = 1'000;

// `before` and `after` make of a pattern the text that PEFT builds of it, group by group.
absl::StatusOr<std::shared_ptr<const pcre2_code>> CompileOne(const char* before, const std::string& pattern,
                                                             const char* after) {
  if (pattern.size() > kMaxPatternBytes) {
    return InvalidArgument("a pattern has {} bytes, more than {}", pattern.size(), kMaxPatternBytes);
  }
  const std::string whole = before + pattern + after;
  int error;
  PCRE2_SIZE offset;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(whole.data()), whole.size(),
                                   PCRE2_ANCHORED | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (code == nullptr) {
    PCRE2_UCHAR text[120] = {};
    pcre2_get_error_message(error, text, sizeof(text));
    return InvalidArgument("pattern '{}' is not a regular expression: {}", pattern,
                           reinterpret_cast<const char*>(text));
  }
  return std::shared_ptr<const pcre2_code>(
      code, [](const pcre2_code* c) { pcre2_code_free(const_cast<pcre2_code*>(c)); });
}

// The memory of a match: where its groups go and what it may cost.
class Matcher {
 public:
  Matcher() {
    pcre2_set_match_limit(context_.get(), kMatchLimit);
    pcre2_set_depth_limit(context_.get(), kDepthLimit);
    pcre2_set_heap_limit(context_.get(), kHeapLimitKib);
  }
  // Answers as pcre2_match: negative is no match or an error.
  int Match(const pcre2_code* code, std::string_view path) {
    return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(path.data()), path.size(), 0, 0, data_.get(),
                       context_.get());
  }

 private:
  std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context_{
      pcre2_match_context_create(nullptr), pcre2_match_context_free};
  std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data_{
      pcre2_match_data_create(1, nullptr), pcre2_match_data_free};
};

absl::StatusOr<bool> MatchOne(Matcher& matcher, const pcre2_code* code, const std::string& pattern,
                              std::string_view path) {
  const int result = matcher.Match(code, path);
  if (result >= 0) return true;
  if (result == PCRE2_ERROR_NOMATCH) return false;
  return InvalidArgument("pattern '{}' costs too much to match", pattern);
}

}  // namespace

absl::StatusOr<PathPattern> PathPattern::Compile(const std::string& pattern) {
  PathPattern out;
  out.pattern_ = pattern;
  ASSIGN_OR_RETURN(out.code_, CompileOne("(?:", pattern, ")\\z"));
  return out;
}

absl::StatusOr<bool> PathPattern::Matches(std::string_view path) const {
  Matcher matcher;
  return MatchOne(matcher, code_.get(), pattern_, path);
}

absl::StatusOr<PatternTable> PatternTable::Compile(
    const std::vector<std::pair<std::string, double>>& entries) {
  if (entries.size() > kMaxPatterns) {
    return InvalidArgument("has {} patterns, more than {}", entries.size(), kMaxPatterns);
  }
  PatternTable table;
  for (const auto& [pattern, value] : entries) {
    ASSIGN_OR_RETURN(auto code, CompileOne("(.*\\.)?(", pattern, ")$"));
    table.entries_.push_back({pattern, std::move(code), value});
  }
  return table;
}

absl::StatusOr<std::optional<double>> PatternTable::Find(std::string_view path) const {
  if (entries_.empty()) return std::nullopt;
  Matcher matcher;
  for (const Entry& entry : entries_) {
    ASSIGN_OR_RETURN(const bool matches, MatchOne(matcher, entry.code.get(), entry.pattern, path));
    if (matches) return entry.value;
  }
  return std::nullopt;
}

}  // namespace hydrad
