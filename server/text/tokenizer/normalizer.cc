#include "server/text/tokenizer/normalizer.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "server/base/status_macros.h"
#include "server/text/tokenizer/pattern.h"
#include "server/text/tokenizer/unicode.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad {
namespace {

constexpr size_t kMaxSteps = 64;
constexpr size_t kMaxPrepended = 64;  // bytes, of all steps together
constexpr int kMaxDepth = 8;

class NormalFormStep final : public Normalizer::Step {
 public:
  explicit NormalFormStep(NormalForm form) : form_(form) {}
  std::string Apply(std::string_view text) const override { return ToNormalForm(text, form_); }

 private:
  const NormalForm form_;
};

class LowercaseStep final : public Normalizer::Step {
 public:
  std::string Apply(std::string_view text) const override { return ToLowerCase(text); }
};

class PrependStep final : public Normalizer::Step {
 public:
  explicit PrependStep(std::string prefix) : prefix_(std::move(prefix)) {}
  std::string Apply(std::string_view text) const override {
    return text.empty() ? std::string() : prefix_ + std::string(text);
  }

 private:
  const std::string prefix_;
};

class ReplaceStep final : public Normalizer::Step {
 public:
  ReplaceStep(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  std::string Apply(std::string_view text) const override {
    if (text.empty()) return "";
    RegexMatcher matcher(pattern_.regex);
    return ReplaceMatches(&matcher, text, content_);
  }

 private:
  const Pattern pattern_;
  const std::string content_;
};

class StripStep final : public Normalizer::Step {
 public:
  StripStep(bool left, bool right) : left_(left), right_(right) {}
  std::string Apply(std::string_view text) const override {
    size_t begin = 0;
    for (size_t pos = 0; left_ && pos < text.size() && IsWhiteSpace(NextCodePoint(text, &pos));) begin = pos;
    text.remove_prefix(begin);
    while (right_ && !text.empty()) {
      const uint32_t last = LastCodePoint(text);
      if (!IsWhiteSpace(last)) break;
      text.remove_suffix(last < 0x80 ? 1 : last < 0x800 ? 2 : 3);
    }
    return std::string(text);
  }

 private:
  const bool left_, right_;
};

// What the steps found so far can do to a text.
struct Parsed {
  std::vector<std::unique_ptr<const Normalizer::Step>> steps;
  size_t growth = 1;  // times as long as the text
  size_t prepended = 0;
  bool strips_left = false;
};

absl::Status ParseReplace(const JsonNode& node, Parsed* out) {
  ASSIGN_OR_RETURN(const JsonNode pattern_node, node.Required("pattern"));
  ASSIGN_OR_RETURN(Pattern pattern, Pattern::Parse(pattern_node));
  ASSIGN_OR_RETURN(const JsonNode content_node, node.Required("content"));
  ASSIGN_OR_RETURN(std::string content, content_node.String());
  out->growth *= std::min(ReplaceGrowth(pattern, content.size()), kMaxGrowth + 1);
  if (out->growth > kMaxGrowth) return node.Error("the text could grow more than {} times", kMaxGrowth);
  out->steps.push_back(std::make_unique<ReplaceStep>(std::move(pattern), std::move(content)));
  return absl::OkStatus();
}

absl::Status ParsePrepend(const JsonNode& node, Parsed* out) {
  ASSIGN_OR_RETURN(const JsonNode prepend, node.Required("prepend"));
  ASSIGN_OR_RETURN(std::string prefix, prepend.String());
  out->prepended += prefix.size();
  if (out->prepended > kMaxPrepended) return prepend.Error("more than {} bytes are prepended", kMaxPrepended);
  out->steps.push_back(std::make_unique<PrependStep>(std::move(prefix)));
  return absl::OkStatus();
}

absl::Status ParseStrip(const JsonNode& node, Parsed* out) {
  ASSIGN_OR_RETURN(const bool left, node.BoolOr("strip_left", false));
  ASSIGN_OR_RETURN(const bool right, node.BoolOr("strip_right", false));
  out->strips_left |= left;
  out->steps.push_back(std::make_unique<StripStep>(left, right));
  return absl::OkStatus();
}

absl::Status ParseStep(const JsonNode& node, int depth, Parsed* out) {
  if (depth > kMaxDepth) return node.Error("nested too deeply");
  ASSIGN_OR_RETURN(const std::string_view type, node.Type());
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const JsonNode list, node.Required("normalizers"));
    ASSIGN_OR_RETURN(const auto elements, list.Elements(kMaxSteps));
    for (const JsonNode& element : elements) RETURN_IF_ERROR(ParseStep(element, depth + 1, out));
    return absl::OkStatus();
  }
  if (out->steps.size() == kMaxSteps) return node.Error("more than {} normalizers", kMaxSteps);
  if (type == "Replace") return ParseReplace(node, out);
  if (type == "Prepend") return ParsePrepend(node, out);
  if (type == "Strip") return ParseStrip(node, out);
  if (type == "Lowercase") {
    out->steps.push_back(std::make_unique<LowercaseStep>());
    return absl::OkStatus();
  }
  static constexpr std::pair<std::string_view, NormalForm> kForms[] = {{"NFC", NormalForm::kNfc},
                                                                       {"NFD", NormalForm::kNfd},
                                                                       {"NFKC", NormalForm::kNfkc},
                                                                       {"NFKD", NormalForm::kNfkd}};
  for (const auto& [name, form] : kForms) {
    if (type != name) continue;
    out->steps.push_back(std::make_unique<NormalFormStep>(form));
    return absl::OkStatus();
  }
  return node.Error("the normalizer '{}' is not supported", type);
}

}  // namespace

absl::StatusOr<Normalizer> Normalizer::Parse(const JsonNode& node) {
  Normalizer normalizer;
  if (node.IsNull()) return normalizer;
  Parsed parsed;
  RETURN_IF_ERROR(ParseStep(node, 0, &parsed));
  normalizer.steps_ = std::move(parsed.steps);
  normalizer.prepended_ = parsed.prepended;
  normalizer.strips_left_ = parsed.strips_left;
  return normalizer;
}

std::string Normalizer::Apply(std::string_view text) const {
  std::string out(text);
  for (const auto& step : steps_) out = step->Apply(out);
  return out;
}

size_t Normalizer::FrontBytes(std::string_view text, std::string_view result) const {
  if (text.empty() || result.empty()) return 0;
  size_t pos = 0;
  if (strips_left_ && IsWhiteSpace(NextCodePoint(text, &pos))) return 0;
  const size_t prefix = std::min(prepended_, result.size() - 1);
  // Replace may have changed what Prepend added, so look for a place between characters.
  size_t end = prefix;
  while (end < result.size() && (static_cast<uint8_t>(result[end]) & 0xc0) == 0x80) ++end;
  return end < result.size() ? end + CharLength(result[end]) : end;
}

std::vector<ByteRange> Normalizer::DataOf(std::string_view text, std::span<const ByteRange> data,
                                          std::string_view result) const {
  if (data.empty()) return {};
  // The text is put together from its parts, each normalised alone. What Prepend adds stands at the front of
  // each, but of the whole at its front only.
  const std::string probe = Apply("a");
  const size_t added = probe.ends_with('a') ? probe.size() - 1 : 0;
  std::string joined;
  std::vector<ByteRange> out;
  const auto add = [&](size_t begin, size_t end) {
    std::string part = Apply(text.substr(begin, end - begin));
    if (begin > 0 && begin < end) part.erase(0, std::min(added, part.size()));
    joined += part;
  };
  size_t pos = 0;
  for (const ByteRange& range : data) {
    add(pos, range.begin);
    const size_t begin = joined.size();
    add(range.begin, range.end);
    out.push_back({begin, joined.size()});
    pos = range.end;
  }
  add(pos, text.size());
  if (joined == result) return out;
  return {{0, result.size()}};
}

}  // namespace hydrad
