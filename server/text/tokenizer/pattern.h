// The pattern of a Split or Replace, and how text is cut at its matches.
#ifndef HYDRAD_SERVER_TEXT_TOKENIZER_PATTERN_H_
#define HYDRAD_SERVER_TEXT_TOKENIZER_PATTERN_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "server/text/tokenizer/json_node.h"
#include "server/text/tokenizer/regex.h"

namespace hydrad {

// {"String": text} or {"Regex": expression}.
struct Pattern {
  Regex regex;
  std::string literal{};  // the text; "" for an expression, which may match less than a byte

  static absl::StatusOr<Pattern> Parse(const JsonNode& node);
};

// A part of a text, in bytes, and whether the pattern matched it.
struct Span {
  size_t begin, end;
  bool match;
};

// Matches and what is between them, in order; together they cover the text. Empty matches are listed too.
void FindSpans(RegexMatcher* matcher, std::string_view text, std::vector<Span>* spans);

// The fate of a match, by the example of the-final--countdown split at "-".
enum class SplitBehavior {
  kRemoved,             // the final countdown
  kIsolated,            // the - final - - countdown
  kMergedWithPrevious,  // the- final- - countdown
  kMergedWithNext,      // the -final - -countdown
  kContiguous,          // the - final -- countdown
};
absl::StatusOr<SplitBehavior> ParseSplitBehavior(const JsonNode& node);

// Joins or drops spans as `behavior` says; `match` means nothing afterwards.
void ApplySplitBehavior(SplitBehavior behavior, std::vector<Span>* spans);

// `text` with every match replaced by `content`.
std::string ReplaceMatches(RegexMatcher* matcher, std::string_view text, std::string_view content);

// How many times longer a text can become when every match is replaced by `content_bytes`. An expression may
// match between any two bytes.
size_t ReplaceGrowth(const Pattern& pattern, size_t content_bytes);

// Stages that each lengthen the text could multiply to any length; a file in which they do so more than this
// many times is refused.
inline constexpr size_t kMaxGrowth = 1024;

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_TOKENIZER_PATTERN_H_
