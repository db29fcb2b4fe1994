#include "server/front/validate_chat.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "server/base/json.h"

namespace hydrad {
namespace {

constexpr size_t kMaxMessages = 2048;
constexpr size_t kMaxParts = 256;
constexpr size_t kMaxTools = 128;
constexpr size_t kMaxToolCalls = 128;  // of one message
constexpr size_t kMaxRoleBytes = 64;
constexpr size_t kMaxNameBytes = 256;  // and of ids

// What a template gets from elsewhere, so that no argument may have its name.
constexpr std::array<std::string_view, 5> kTaken = {"messages", "tools", "add_generation_prompt", "bos_token",
                                                    "eos_token"};

bool IsRole(std::string_view role) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  return !role.empty() && role.size() <= kMaxRoleBytes && std::ranges::all_of(role, plain);
}

// Counts the bytes of all texts, which have one bound together.
class ChatChecker {
 public:
  ChatChecker(const RequestLimits& limits, Checker& check) : limits_(limits), check_(check) {}

  void Chat(const ChatPrompt& chat) {
    check_.Expect(!chat.messages.empty(), "messages", "must not be empty");
    if (!Count(chat.messages.size(), kMaxMessages, "messages")) return;
    if (!Count(chat.tools.size(), kMaxTools, "tools")) return;
    for (size_t i = 0; i < chat.messages.size(); ++i)
      Message(chat.messages[i], fmt::format("messages[{}]", i));
    for (size_t i = 0; i < chat.tools.size(); ++i) Object(chat.tools[i], fmt::format("tools[{}]", i));
    Arguments(chat.template_arguments);
    check_.Expect(!chat.continue_final_message || !chat.add_generation_prompt.value_or(false),
                  "add_generation_prompt", "must be left out, or false, with continue_final_message");
    if (bytes_ > limits_.max_prompt_bytes) {
      check_.Fail("messages", fmt::format("has {} bytes with tools and arguments: at most {} are taken",
                                          bytes_, limits_.max_prompt_bytes));
    }
  }

 private:
  void Message(const ChatMessage& message, const std::string& field) {
    check_.Expect(IsRole(message.role), field + ".role", "must be 1 to 64 of the characters a-z A-Z 0-9 _ -");
    if (const auto* text = std::get_if<std::string>(&message.content)) {
      Text(*text, field + ".content");
    } else if (const auto* parts = std::get_if<std::vector<std::string>>(&message.content)) {
      if (!Count(parts->size(), kMaxParts, field + ".content")) return;
      for (size_t i = 0; i < parts->size(); ++i) Text((*parts)[i], fmt::format("{}.content[{}]", field, i));
    }
    Text(message.reasoning_content, field + ".reasoning_content");
    Name(message.name, field + ".name");
    Name(message.tool_call_id, field + ".tool_call_id");
    if (!Count(message.tool_calls.size(), kMaxToolCalls, field + ".tool_calls")) return;
    for (size_t i = 0; i < message.tool_calls.size(); ++i)
      ToolCall(message.tool_calls[i], fmt::format("{}.tool_calls[{}]", field, i));
  }

  void ToolCall(const ChatToolCall& call, const std::string& field) {
    Name(call.id, field + ".id");
    check_.Expect(!call.name.empty(), field + ".name", "must not be empty");
    Name(call.name, field + ".name");
    if (!call.arguments.empty()) Object(call.arguments, field + ".arguments");
  }

  void Arguments(const std::string& text) {
    if (text.empty() || !Object(text, "template_arguments")) return;
    const Json arguments = *ParseJson(text);
    // A template takes tokens of the model out of such names, which are no user's text.
    for (const auto& [key, value] : arguments.items())
      check_.Expect(!key.ends_with("_token"), "template_arguments",
                    "must not hold a name that ends in _token");
    for (const std::string_view taken : kTaken) {
      check_.Expect(!arguments.contains(taken), "template_arguments",
                    fmt::format("must not hold '{}', which the template gets otherwise", taken));
    }
  }

  // Whether `text` is a JSON object.
  bool Object(const std::string& text, const std::string& field) {
    if (!Text(text, field)) return false;
    const absl::StatusOr<Json> json = ParseJson(text);
    if (!json.ok()) {
      check_.Fail(field, std::string(json.status().message()));
      return false;
    }
    check_.Expect(json->is_object(), field, "must be a JSON object");
    return json->is_object();
  }

  void Name(const std::string& name, const std::string& field) {
    bytes_ += name.size();
    check_.Text(name, kMaxNameBytes, field);
  }

  bool Text(const std::string& text, const std::string& field) {
    bytes_ += text.size();
    check_.Text(text, limits_.max_prompt_bytes, field);
    return text.size() <= limits_.max_prompt_bytes;
  }

  bool Count(size_t count, size_t most, const std::string& field) {
    if (count <= most) return true;
    check_.Fail(field, fmt::format("has {} entries: at most {} are taken", count, most));
    return false;
  }

  const RequestLimits& limits_;
  Checker& check_;
  size_t bytes_ = 0;
};

}  // namespace

void CheckChat(const ChatPrompt& chat, const RequestLimits& limits, Checker& check) {
  ChatChecker(limits, check).Chat(chat);
}

}  // namespace hydrad
