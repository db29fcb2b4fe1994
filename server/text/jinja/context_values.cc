#include "server/text/jinja/context_values.h"

#include <algorithm>
#include <string>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad::jinja {
namespace {

// Whose words a value of the context holds.
enum class Origin : uint8_t {
  kModel,     // the model's
  kMessages,  // the list of messages
  kMessage,   // one of them
  kData,      // a user's
};

// Roles are words of the API, which templates make tokens of ("<|" + role + "|>"): such a one holds no token.
bool IsRole(const Json& json) {
  if (!json.is_string()) return false;
  const auto& text = json.get_ref<const std::string&>();
  return std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

Origin OriginOf(Origin holder, const std::string& key, const Json& value) {
  return holder == Origin::kMessage && key == "role" && IsRole(value) ? Origin::kModel : Origin::kData;
}

absl::StatusOr<Value> FromString(Runtime* runtime, const std::string& text, bool is_data) {
  const std::string valid = IsUtf8(text) ? text : RepairUtf8(text);
  return runtime->heap.NewText(is_data ? Text::FromContext(valid) : Text(valid));
}

absl::StatusOr<Value> FromJson(Runtime* runtime, const Json& json, Origin origin) {
  Nesting nesting(runtime);
  RETURN_IF_ERROR(nesting.status());
  runtime->heap.Step();
  RETURN_IF_ERROR(runtime->heap.status());
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value::Bool(json.get<bool>());
    case Json::value_t::number_integer:
      return Value::Int(json.get<int64_t>());
    case Json::value_t::number_unsigned:
      if (json.get<uint64_t>() > INT64_MAX) return InvalidArgument("an integer has more than 64 bits");
      return Value::Int(json.get<int64_t>());
    case Json::value_t::number_float:
      return Value::Float(json.get<double>());
    case Json::value_t::string:
      return FromString(runtime, json.get_ref<const std::string&>(), origin != Origin::kModel);
    case Json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const Json& element : json) {
        const Origin inner = origin == Origin::kMessages ? Origin::kMessage : Origin::kData;
        ASSIGN_OR_RETURN(Value item, FromJson(runtime, element, inner));
        items.push_back(std::move(item));
      }
      return runtime->heap.NewList(std::move(items));
    }
    case Json::value_t::object: {
      Dict* dict = runtime->heap.New<Dict>();
      for (const auto& [key, element] : json.items()) {
        ASSIGN_OR_RETURN(const Value name, FromString(runtime, key, /*is_data=*/true));
        ASSIGN_OR_RETURN(Value value, FromJson(runtime, element, OriginOf(origin, key, element)));
        RETURN_IF_ERROR(dict->Set(name, std::move(value)));
      }
      runtime->heap.Charge(4 * sizeof(Value) * dict->items.size());
      return Value::Of(Kind::kDict, dict);
    }
    default:
      return Value::None();
  }
}

}  // namespace

absl::Status FillContext(Runtime* runtime, const Json& context, const Symbols& symbols, Scope* root) {
  if (!context.is_object()) return InvalidArgument("the context of a chat template is no object");
  for (Symbol symbol = 0; symbol < symbols.size(); ++symbol) {
    const std::string& name = symbols.Name(symbol)->bytes;
    const auto found = context.find(name);
    if (found == context.end()) continue;
    const bool token = found->is_string() && name.ends_with("_token");
    const Origin origin = token ? Origin::kModel : name == "messages" ? Origin::kMessages : Origin::kData;
    auto value = FromJson(runtime, *found, origin);
    if (!value.ok()) return Annotate(value.status(), name);
    root->Set(symbol, *std::move(value));
  }
  return absl::OkStatus();
}

}  // namespace hydrad::jinja
