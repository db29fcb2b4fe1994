#include "server/text/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "server/base/status_macros.h"
#include "server/text/tokenizer/unicode.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad {
namespace {

constexpr size_t kMaxSteps = 32;
constexpr int kMaxDepth = 8;
// GPT-2's way of cutting text, which ByteLevel carries built in.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Appends the non-empty spans of `piece` to `out`.
void AppendSpans(const Piece& piece, const std::vector<Span>& spans, std::vector<Piece>* out) {
  for (const Span& span : spans) {
    if (span.begin >= span.end) continue;
    out->push_back({piece.text.substr(span.begin, span.end - span.begin),
                    piece.front_bytes > span.begin ? piece.front_bytes - span.begin : 0});
  }
}

class SplitStep final : public PreTokenizer::Step {
 public:
  SplitStep(Regex regex, SplitBehavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}

  void Apply(Pieces* pieces) const override {
    RegexMatcher matcher(regex_);
    std::vector<Piece> out;
    out.reserve(pieces->list.size());
    std::vector<Span> spans;
    for (const Piece& piece : pieces->list) {
      FindSpans(&matcher, piece.text, &spans);
      for (Span& span : spans) span.match ^= invert_;
      ApplySplitBehavior(behavior_, &spans);
      AppendSpans(piece, spans, &out);
    }
    pieces->list = std::move(out);
  }

 private:
  const Regex regex_;
  const SplitBehavior behavior_;
  const bool invert_;
};

// Cuts by a class of characters. One kind is kept as words, kinds differ from one to the next.
class ClassStep final : public PreTokenizer::Step {
 public:
  enum Kind {
    kDigits,            // runs of digits, runs of others
    kIndividualDigits,  // every digit by itself, runs of others
    kWords,             // runs of word characters, runs of others; white space is dropped
    kNonSpace,          // runs without white space, which is dropped
  };
  explicit ClassStep(Kind kind) : kind_(kind) {}

  void Apply(Pieces* pieces) const override {
    std::vector<Piece> out;
    out.reserve(pieces->list.size());
    std::vector<Span> spans;
    for (const Piece& piece : pieces->list) {
      spans.clear();
      Cut(piece.text, &spans);
      AppendSpans(piece, spans, &out);
    }
    pieces->list = std::move(out);
  }

 private:
  enum Class { kDropped, kAlone, kFirst, kSecond };

  Class ClassOf(uint32_t c) const {
    switch (kind_) {
      case kDigits:
        return IsNumeric(c) ? kFirst : kSecond;
      case kIndividualDigits:
        return IsNumeric(c) ? kAlone : kSecond;
      case kWords:
        return IsWordChar(c) ? kFirst : IsWhiteSpace(c) ? kDropped : kSecond;
      case kNonSpace:
        return IsWhiteSpace(c) ? kDropped : kFirst;
    }
    return kDropped;
  }

  void Cut(std::string_view text, std::vector<Span>* spans) const {
    Class previous = kDropped;
    for (size_t pos = 0; pos < text.size();) {
      const size_t begin = pos;
      const Class now = ClassOf(NextCodePoint(text, &pos));
      if (now != kDropped && (now != previous || now == kAlone)) {
        spans->push_back({begin, pos, false});
      } else if (now != kDropped) {
        spans->back().end = pos;
      }
      previous = now;
    }
  }

  const Kind kind_;
};

class PrefixSpaceStep final : public PreTokenizer::Step {
 public:
  void Apply(Pieces* pieces) const override {
    for (Piece& piece : pieces->list) {
      if (piece.text.starts_with(' ')) continue;
      piece.text = pieces->Keep(" " + std::string(piece.text));
      if (piece.front_bytes > 0) ++piece.front_bytes;
    }
  }
};

class BytesToCharsStep final : public PreTokenizer::Step {
 public:
  void Apply(Pieces* pieces) const override {
    for (Piece& piece : pieces->list) {
      piece.front_bytes = BytesToChars(piece.text.substr(0, piece.front_bytes)).size();
      piece.text = pieces->Keep(BytesToChars(piece.text));
    }
  }
};

enum class PrependScheme { kAlways, kFirst, kNever };

class MetaspaceStep final : public PreTokenizer::Step {
 public:
  MetaspaceStep(Regex space, Regex replacement, std::string text, PrependScheme scheme, bool split)
      : space_(std::move(space)),
        replacement_(std::move(replacement)),
        text_(std::move(text)),
        scheme_(scheme),
        split_(split) {}

  void Apply(Pieces* pieces) const override {
    RegexMatcher spaces(space_);
    RegexMatcher replacements(replacement_);
    std::vector<Piece> out;
    std::vector<Span> spans;
    for (Piece piece : pieces->list) {
      Replace(&spaces, pieces, &piece);
      if (!split_) {
        out.push_back(piece);
        continue;
      }
      FindSpans(&replacements, piece.text, &spans);
      ApplySplitBehavior(SplitBehavior::kMergedWithNext, &spans);
      AppendSpans(piece, spans, &out);
    }
    pieces->list = std::move(out);
  }

 private:
  void Replace(RegexMatcher* spaces, Pieces* pieces, Piece* piece) const {
    std::string text = ReplaceMatches(spaces, piece->text, text_);
    const bool first = piece->front_bytes > 0;
    if (first && piece->text.starts_with(' ')) piece->front_bytes += text_.size() - 1;
    if (!text.starts_with(text_) &&
        (scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && first))) {
      text.insert(0, text_);
      if (first) piece->front_bytes += text_.size();
    }
    piece->text = pieces->Keep(std::move(text));
  }

  const Regex space_;
  const Regex replacement_;
  const std::string text_;
  const PrependScheme scheme_;
  const bool split_;
};

using Steps = std::vector<std::unique_ptr<const PreTokenizer::Step>>;

bool WritesBytes(const std::unique_ptr<const PreTokenizer::Step>& step) {
  return dynamic_cast<const BytesToCharsStep*>(step.get()) != nullptr;
}

absl::Status ParseByteLevel(const JsonNode& node, Steps* steps) {
  // Every writing of bytes as characters may double the text.
  if (std::count_if(steps->begin(), steps->end(), WritesBytes) == 2) return node.Error("a third ByteLevel");
  ASSIGN_OR_RETURN(const bool prefix_space, node.BoolOr("add_prefix_space", true));
  ASSIGN_OR_RETURN(const bool use_regex, node.BoolOr("use_regex", true));
  if (prefix_space) steps->push_back(std::make_unique<PrefixSpaceStep>());
  if (use_regex) {
    ASSIGN_OR_RETURN(Regex regex, Regex::Compile(kGpt2Pattern));
    steps->push_back(std::make_unique<SplitStep>(std::move(regex), SplitBehavior::kIsolated, false));
  }
  steps->push_back(std::make_unique<BytesToCharsStep>());
  return absl::OkStatus();
}

absl::Status ParseSplit(const JsonNode& node, Steps* steps) {
  ASSIGN_OR_RETURN(const JsonNode pattern_node, node.Required("pattern"));
  ASSIGN_OR_RETURN(Pattern pattern, Pattern::Parse(pattern_node));
  ASSIGN_OR_RETURN(const JsonNode behavior_node, node.Required("behavior"));
  ASSIGN_OR_RETURN(const SplitBehavior behavior, ParseSplitBehavior(behavior_node));
  ASSIGN_OR_RETURN(const bool invert, node.BoolOr("invert", false));
  steps->push_back(std::make_unique<SplitStep>(std::move(pattern.regex), behavior, invert));
  return absl::OkStatus();
}

// Older files say add_prefix_space where newer ones say prepend_scheme.
absl::StatusOr<PrependScheme> ParsePrependScheme(const JsonNode& node) {
  ASSIGN_OR_RETURN(const bool prefix_space, node.BoolOr("add_prefix_space", true));
  ASSIGN_OR_RETURN(const std::string scheme,
                   node.StringOr("prepend_scheme", prefix_space ? "always" : "never"));
  if (!prefix_space && scheme != "never") return node.Error("add_prefix_space contradicts prepend_scheme");
  if (scheme == "always") return PrependScheme::kAlways;
  if (scheme == "first") return PrependScheme::kFirst;
  if (scheme == "never") return PrependScheme::kNever;
  return node.Error("'{}' is not a prepend_scheme", scheme);
}

absl::Status ParseMetaspace(const JsonNode& node, Steps* steps) {
  ASSIGN_OR_RETURN(const JsonNode replacement_node, node.Required("replacement"));
  ASSIGN_OR_RETURN(std::string replacement, replacement_node.Character());
  ASSIGN_OR_RETURN(const PrependScheme scheme, ParsePrependScheme(node));
  ASSIGN_OR_RETURN(const bool split, node.BoolOr("split", true));
  ASSIGN_OR_RETURN(Regex space, Regex::Literal(" "));
  ASSIGN_OR_RETURN(Regex regex, Regex::Literal(replacement));
  steps->push_back(std::make_unique<MetaspaceStep>(std::move(space), std::move(regex), std::move(replacement),
                                                   scheme, split));
  return absl::OkStatus();
}

absl::Status ParseDigits(const JsonNode& node, Steps* steps) {
  ASSIGN_OR_RETURN(const bool individual, node.BoolOr("individual_digits", false));
  steps->push_back(
      std::make_unique<ClassStep>(individual ? ClassStep::kIndividualDigits : ClassStep::kDigits));
  return absl::OkStatus();
}

absl::Status ParseStep(const JsonNode& node, int depth, Steps* steps) {
  if (depth > kMaxDepth) return node.Error("nested too deeply");
  if (steps->size() > kMaxSteps) return node.Error("more than {} steps", kMaxSteps);
  ASSIGN_OR_RETURN(const std::string_view type, node.Type());
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const JsonNode list, node.Required("pretokenizers"));
    ASSIGN_OR_RETURN(const auto elements, list.Elements(kMaxSteps));
    for (const JsonNode& element : elements) RETURN_IF_ERROR(ParseStep(element, depth + 1, steps));
    return absl::OkStatus();
  }
  if (type == "ByteLevel") return ParseByteLevel(node, steps);
  if (type == "Digits") return ParseDigits(node, steps);
  if (type == "Split") return ParseSplit(node, steps);
  if (type == "Metaspace") return ParseMetaspace(node, steps);
  if (type == "Whitespace" || type == "WhitespaceSplit") {
    steps->push_back(
        std::make_unique<ClassStep>(type == "Whitespace" ? ClassStep::kWords : ClassStep::kNonSpace));
    return absl::OkStatus();
  }
  return node.Error("the pre-tokenizer '{}' is not supported", type);
}

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::Parse(const JsonNode& node) {
  PreTokenizer pre_tokenizer;
  if (node.IsNull()) return pre_tokenizer;
  Steps& steps = pre_tokenizer.steps_;
  RETURN_IF_ERROR(ParseStep(node, 0, &steps));
  if (!steps.empty() && WritesBytes(steps.back())) {
    steps.pop_back();
    pre_tokenizer.ends_with_bytes_ = true;
  }
  return pre_tokenizer;
}

void PreTokenizer::Apply(Pieces* pieces) const {
  for (const auto& step : steps_) step->Apply(pieces);
}

}  // namespace hydrad
