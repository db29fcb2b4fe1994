#include "server/text/tokenizer/post_processor.h"

#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr size_t kMaxPieces = 1024;
constexpr int kMaxDepth = 8;

// Appends the ids that the template's special token `name` stands for.
absl::Status AppendSpecial(const JsonNode& tokens, const std::string& name, std::vector<int32_t>* out) {
  ASSIGN_OR_RETURN(const JsonNode token, tokens.Required(name));
  ASSIGN_OR_RETURN(const JsonNode ids, token.Required("ids"));
  ASSIGN_OR_RETURN(const auto elements, ids.Elements(kMaxPieces));
  for (const JsonNode& element : elements) {
    ASSIGN_OR_RETURN(const uint32_t id, element.Count());
    out->push_back(static_cast<int32_t>(id));
  }
  return absl::OkStatus();
}

absl::Status ParseTemplate(const JsonNode& node, PostProcessor* out) {
  ASSIGN_OR_RETURN(const JsonNode single, node.Required("single"));
  ASSIGN_OR_RETURN(const auto pieces, single.Elements(kMaxPieces));
  ASSIGN_OR_RETURN(const JsonNode tokens, node.Member("special_tokens"));
  bool has_text = false;
  for (const JsonNode& piece : pieces) {
    ASSIGN_OR_RETURN(const JsonNode special, piece.Member("SpecialToken"));
    if (!special.IsNull()) {
      ASSIGN_OR_RETURN(const std::string name, special.StringOr("id", ""));
      RETURN_IF_ERROR(AppendSpecial(tokens, name, has_text ? &out->after : &out->before));
      continue;
    }
    ASSIGN_OR_RETURN(const JsonNode sequence, piece.Required("Sequence"));
    ASSIGN_OR_RETURN(const std::string name, sequence.StringOr("id", ""));
    if (name != "A" || has_text) return single.Error("must hold the sequence A once and no other");
    has_text = true;
  }
  if (!has_text) return single.Error("must hold the sequence A");
  return absl::OkStatus();
}

absl::Status ParseStep(const JsonNode& node, int depth, bool* has_template, PostProcessor* out) {
  if (depth > kMaxDepth) return node.Error("nested too deeply");
  ASSIGN_OR_RETURN(const std::string_view type, node.Type());
  if (type == "ByteLevel") return absl::OkStatus();
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const JsonNode list, node.Required("processors"));
    ASSIGN_OR_RETURN(const auto elements, list.Elements(kMaxPieces));
    for (const JsonNode& element : elements)
      RETURN_IF_ERROR(ParseStep(element, depth + 1, has_template, out));
    return absl::OkStatus();
  }
  if (type != "TemplateProcessing") return node.Error("the post-processor '{}' is not supported", type);
  if (*has_template) return node.Error("a second TemplateProcessing is not supported");
  *has_template = true;
  return ParseTemplate(node, out);
}

}  // namespace

absl::StatusOr<PostProcessor> PostProcessor::Parse(const JsonNode& node) {
  PostProcessor out;
  if (node.IsNull()) return out;
  bool has_template = false;
  RETURN_IF_ERROR(ParseStep(node, 0, &has_template, &out));
  return out;
}

}  // namespace hydrad
