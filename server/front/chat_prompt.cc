#include "server/front/chat_prompt.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "server/base/status_macros.h"
#include "server/front/error_details.h"

namespace hydrad {
namespace {

// Of what a template says, which may be as long as it likes.
constexpr size_t kMaxWords = 512;
// A template may repeat what it is given, and adds its own.
constexpr size_t kTemplateBytes = 256 << 10;
constexpr size_t kMaxMemory = 64 << 20;

std::string ContentOf(const ChatMessage& message) {
  if (const auto* text = std::get_if<std::string>(&message.content)) return *text;
  if (const auto* parts = std::get_if<std::vector<std::string>>(&message.content))
    return fmt::format("{}", fmt::join(*parts, "\n"));
  return "";
}

Json ContextOf(const ChatToolCall& call) {
  Json out = Json::object();
  if (!call.id.empty()) out["id"] = call.id;
  out["type"] = "function";
  out["function"] = {{"name", call.name},
                     {"arguments", call.arguments.empty() ? Json::object() : *ParseJson(call.arguments)}};
  return out;
}

Json ContextOf(const ChatMessage& message) {
  Json out = {{"role", message.role}};
  out["content"] =
      std::holds_alternative<std::monostate>(message.content) ? Json(nullptr) : Json(ContentOf(message));
  if (!message.reasoning_content.empty()) out["reasoning_content"] = message.reasoning_content;
  if (!message.name.empty()) out["name"] = message.name;
  for (const ChatToolCall& call : message.tool_calls) out["tool_calls"].push_back(ContextOf(call));
  if (!message.tool_call_id.empty()) out["tool_call_id"] = message.tool_call_id;
  return out;
}

absl::Status BadMessages(std::string_view what) {
  size_t bytes = std::min(what.size(), kMaxWords);
  while (bytes < what.size() && (what[bytes] & 0xC0) == 0x80) --bytes;  // not inside a character
  return BadFields({{"messages", std::string(what.substr(0, bytes))}});
}

std::string_view WithoutSpaceAround(std::string_view text) {
  constexpr char kSpace[] = " \t\n\v\f\r";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return "";
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

// Cuts what the template writes behind the final message's content. Of the space at that one's end stays what
// the template has left.
absl::Status EndInside(const ChatMessage& final, ChatTemplate::Rendered* rendered) {
  const std::string content = ContentOf(final);
  const std::string_view bare = WithoutSpaceAround(content);
  const size_t at = rendered->text.rfind(bare);
  if (at == std::string::npos)
    return BadMessages("cannot be continued: the chat template changes the final message");
  const std::string_view from_bare = std::string_view(content).substr(content.find(bare));
  const bool whole = rendered->text.compare(at, from_bare.size(), from_bare) == 0;
  const size_t end = at + (whole ? from_bare : bare).size();
  rendered->text.resize(end);
  std::erase_if(rendered->from_data, [end](const ByteRange& range) { return range.begin >= end; });
  if (!rendered->from_data.empty())
    rendered->from_data.back().end = std::min(rendered->from_data.back().end, end);
  return absl::OkStatus();
}

}  // namespace

Json ChatContext(const ChatPrompt& chat) {
  Json context = Json::object();
  for (const ChatMessage& message : chat.messages) context["messages"].push_back(ContextOf(message));
  context["tools"] = nullptr;
  for (const std::string& tool : chat.tools) context["tools"].push_back(*ParseJson(tool));
  context["documents"] = nullptr;
  context["add_generation_prompt"] = chat.add_generation_prompt.value_or(!chat.continue_final_message);
  if (chat.template_arguments.empty()) return context;
  Json arguments = *ParseJson(chat.template_arguments);
  for (auto& [name, value] : arguments.items()) context[name] = std::move(value);
  return context;
}

absl::StatusOr<ChatTemplate::Rendered> RenderChat(const ChatPrompt& chat, const ChatFormat& format,
                                                  const RequestLimits& limits,
                                                  std::chrono::system_clock::time_point now) {
  ChatTemplateLimits bounds;
  bounds.output_bytes = 2 * limits.max_prompt_bytes + kTemplateBytes;
  bounds.memory_bytes = kMaxMemory;
  absl::StatusOr<ChatTemplate::Rendered> rendered = format.Render(ChatContext(chat), now, bounds);
  if (absl::IsInvalidArgument(rendered.status())) {
    return BadMessages(
        fmt::format("is refused by the chat template: {}", std::string(rendered.status().message())));
  }
  if (rendered.ok() && chat.continue_final_message)
    RETURN_IF_ERROR(EndInside(chat.messages.back(), &*rendered));
  return rendered;
}

}  // namespace hydrad
