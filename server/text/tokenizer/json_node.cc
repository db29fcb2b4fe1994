#include "server/text/tokenizer/json_node.h"

#include <fmt/core.h>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad {
namespace {

const nlohmann::json kNull;

}  // namespace

int64_t JsonCount(const nlohmann::json& value, uint32_t limit) {
  if (!value.is_number_integer()) return -1;
  // A negative number becomes a large unsigned one.
  const uint64_t count = value.get<uint64_t>();
  return count <= limit ? static_cast<int64_t>(count) : -1;
}

absl::Status JsonNode::ErrorHere(std::string_view text) const {
  return InvalidArgument("{}: {}", path_, text);
}

absl::StatusOr<JsonNode> JsonNode::Member(std::string_view name) const {
  if (!value_->is_object()) return Error("must be an object, not {}", value_->type_name());
  std::string path = path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
  auto it = value_->find(name);
  return JsonNode(it == value_->end() ? kNull : *it, std::move(path));
}

absl::StatusOr<std::vector<JsonNode>> JsonNode::Elements(size_t limit) const {
  if (!value_->is_array()) return Error("must be an array, not {}", value_->type_name());
  if (value_->size() > limit)
    return Error("has {} elements; at most {} are supported", value_->size(), limit);
  std::vector<JsonNode> elements;
  elements.reserve(value_->size());
  for (const nlohmann::json& element : *value_) {
    elements.emplace_back(element, fmt::format("{}[{}]", path_, elements.size()));
  }
  return elements;
}

absl::StatusOr<std::string> JsonNode::String() const {
  if (!value_->is_string()) return Error("must be a string, not {}", value_->type_name());
  return value_->get<std::string>();
}

absl::StatusOr<bool> JsonNode::Bool() const {
  if (!value_->is_boolean()) return Error("must be true or false, not {}", value_->type_name());
  return value_->get<bool>();
}

absl::StatusOr<uint32_t> JsonNode::Count() const {
  const int64_t count = JsonCount(*value_, INT32_MAX);
  if (count < 0) return Error("must be an integer from 0 to {}", INT32_MAX);
  return static_cast<uint32_t>(count);
}

absl::StatusOr<std::string> JsonNode::Character() const {
  ASSIGN_OR_RETURN(std::string text, String());
  if (text.empty() || CharLength(text[0]) != text.size()) return Error("must be one character");
  return text;
}

absl::StatusOr<std::string> JsonNode::StringOr(std::string_view name, std::string_view otherwise) const {
  ASSIGN_OR_RETURN(const JsonNode member, Member(name));
  if (member.IsNull()) return std::string(otherwise);
  return member.String();
}

absl::StatusOr<bool> JsonNode::BoolOr(std::string_view name, bool otherwise) const {
  ASSIGN_OR_RETURN(const JsonNode member, Member(name));
  if (member.IsNull()) return otherwise;
  return member.Bool();
}

absl::StatusOr<std::string_view> JsonNode::Type() const {
  ASSIGN_OR_RETURN(const JsonNode type, Required("type"));
  if (!type.value().is_string()) return type.Error("must be a string, not {}", type.value().type_name());
  return std::string_view(type.value().get_ref<const std::string&>());
}

absl::StatusOr<JsonNode> JsonNode::Required(std::string_view name) const {
  ASSIGN_OR_RETURN(JsonNode member, Member(name));
  if (member.IsNull()) return member.Error("is missing");
  return member;
}

}  // namespace hydrad
