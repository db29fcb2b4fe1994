#include "server/text/tokenizer/pattern.h"

#include <algorithm>
#include <utility>

#include "server/base/status_macros.h"

namespace hydrad {
namespace {

// A match joins the span before it, unless that is a match too.
void MergeWithPrevious(std::vector<Span>* spans) {
  std::vector<Span> merged;
  bool previous = false;
  for (const Span& span : *spans) {
    const bool joins = span.match && !previous && !merged.empty();
    previous = span.match;
    if (joins) {
      merged.back().end = span.end;
    } else {
      merged.push_back(span);
    }
  }
  *spans = std::move(merged);
}

void MergeWithNext(std::vector<Span>* spans) {
  std::vector<Span> merged;
  bool previous = false;
  for (auto span = spans->rbegin(); span != spans->rend(); ++span) {
    const bool joins = span->match && !previous && !merged.empty();
    previous = span->match;
    if (joins) {
      merged.back().begin = span->begin;
    } else {
      merged.push_back(*span);
    }
  }
  std::reverse(merged.begin(), merged.end());
  *spans = std::move(merged);
}

// Neighbours of the same kind become one.
void MergeContiguous(std::vector<Span>* spans) {
  std::vector<Span> merged;
  bool previous = false;
  for (const Span& span : *spans) {
    if (span.match == previous && !merged.empty()) {
      merged.back().end = span.end;
    } else {
      merged.push_back(span);
    }
    previous = span.match;
  }
  *spans = std::move(merged);
}

}  // namespace

absl::StatusOr<Pattern> Pattern::Parse(const JsonNode& node) {
  ASSIGN_OR_RETURN(const JsonNode text, node.Member("String"));
  if (!text.IsNull()) {
    ASSIGN_OR_RETURN(std::string literal, text.String());
    absl::StatusOr<Regex> regex = Regex::Literal(literal);
    if (!regex.ok()) return Annotate(regex.status(), text.path());
    return Pattern{*std::move(regex), std::move(literal)};
  }
  ASSIGN_OR_RETURN(const JsonNode expression, node.Member("Regex"));
  if (expression.IsNull()) return node.Error("must hold \"String\" or \"Regex\"");
  ASSIGN_OR_RETURN(const std::string source, expression.String());
  absl::StatusOr<Regex> regex = Regex::Compile(source);
  if (!regex.ok()) return Annotate(regex.status(), expression.path());
  return Pattern{*std::move(regex)};
}

void FindSpans(RegexMatcher* matcher, std::string_view text, std::vector<Span>* spans) {
  spans->clear();
  matcher->Start(text);
  size_t done = 0;
  for (size_t begin, end; matcher->Next(&begin, &end); done = end) {
    if (done != begin) spans->push_back({done, begin, false});
    spans->push_back({begin, end, true});
  }
  if (done != text.size()) spans->push_back({done, text.size(), false});
}

absl::StatusOr<SplitBehavior> ParseSplitBehavior(const JsonNode& node) {
  static constexpr std::pair<std::string_view, SplitBehavior> kNames[] = {
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous},
  };
  ASSIGN_OR_RETURN(const std::string name, node.String());
  for (const auto& [known, behavior] : kNames) {
    if (name == known) return behavior;
  }
  return node.Error("'{}' is not a split behavior", name);
}

void ApplySplitBehavior(SplitBehavior behavior, std::vector<Span>* spans) {
  switch (behavior) {
    case SplitBehavior::kIsolated:
      return;
    case SplitBehavior::kRemoved:
      std::erase_if(*spans, [](const Span& span) { return span.match; });
      return;
    case SplitBehavior::kMergedWithPrevious:
      return MergeWithPrevious(spans);
    case SplitBehavior::kMergedWithNext:
      return MergeWithNext(spans);
    case SplitBehavior::kContiguous:
      return MergeContiguous(spans);
  }
}

std::string ReplaceMatches(RegexMatcher* matcher, std::string_view text, std::string_view content) {
  std::string out;
  out.reserve(text.size());
  matcher->Start(text);
  size_t done = 0;
  for (size_t begin, end; matcher->Next(&begin, &end); done = end) {
    out.append(text.substr(done, begin - done)).append(content);
  }
  return out.append(text.substr(done));
}

size_t ReplaceGrowth(const Pattern& pattern, size_t content_bytes) {
  if (pattern.literal.empty()) return content_bytes + 2;
  return content_bytes / pattern.literal.size() + 1;
}

}  // namespace hydrad
