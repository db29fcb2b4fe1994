#include "server/http/chat_completion_call.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "server/base/status_macros.h"

namespace hydrad {
namespace {

void ReadParts(const Json& parts, const std::string& field, BodyReader& reader, ChatMessage* message) {
  std::vector<std::string> texts;
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string name = fmt::format("{}[{}]", field, i);
    if (!parts[i].is_object()) return reader.Fail(name, "must be an object");
    BodyReader part(parts[i], name + ".");
    const std::string type = part.Text("type").value_or("");
    if (type != "text")
      return reader.Fail(name, fmt::format("is of type '{}': only 'text' is supported", type));
    texts.push_back(part.Text("text").value_or(""));
    reader.Finish(part);
  }
  message->content = std::move(texts);
}

void ReadToolCalls(const Json& calls, const std::string& field, BodyReader& reader, ChatMessage* message) {
  if (!calls.is_array()) return reader.Fail(field, "must be a list");
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string name = fmt::format("{}[{}]", field, i);
    if (!calls[i].is_object()) return reader.Fail(name, "must be an object");
    BodyReader call(calls[i], name + ".");
    ChatToolCall& to = message->tool_calls.emplace_back();
    to.id = call.Text("id").value_or("");
    if (call.Text("type").value_or("function") != "function") call.Fail("type", "must be 'function'");
    call.Ignore({"index"});
    if (const Json* function = call.Object("function")) {
      BodyReader inner(*function, name + ".function.");
      to.name = inner.Text("name").value_or("");
      to.arguments = inner.Text("arguments").value_or("");
      reader.Finish(inner);
    }
    reader.Finish(call);
  }
}

ChatMessage ReadMessage(const Json& object, const std::string& name, BodyReader& reader) {
  ChatMessage message;
  BodyReader fields(object, name + ".");
  message.role = fields.Text("role").value_or("");
  if (message.role == "developer")
    message.role = "system";  // OpenAI's later word, which templates do not know
  if (const Json* content = fields.Value("content")) {
    if (content->is_string()) {
      message.content = content->get<std::string>();
    } else if (content->is_array()) {
      ReadParts(*content, name + ".content", reader, &message);
    } else {
      fields.Fail("content", "must be a text or a list of parts");
    }
  } else if (message.role == "system" || message.role == "user" || message.role == "tool") {
    fields.Fail("content", "must be set: only an assistant may say nothing");
  }
  message.reasoning_content = fields.Text("reasoning_content").value_or("");
  message.name = fields.Text("name").value_or("");
  message.tool_call_id = fields.Text("tool_call_id").value_or("");
  if (const Json* calls = fields.Value("tool_calls")) {
    ReadToolCalls(*calls, name + ".tool_calls", reader, &message);
  }
  fields.Ignore({"refusal", "annotations"});  // of an answer that is sent back
  reader.Finish(fields);
  return message;
}

void ReadMessages(BodyReader& reader, ChatPrompt* chat) {
  const Json* messages = reader.Value("messages");
  if (messages == nullptr || !messages->is_array())
    return reader.Fail("messages", "must be a list of messages");
  for (size_t i = 0; i < messages->size() && reader.ok(); ++i) {
    const std::string name = fmt::format("messages[{}]", i);
    if (!(*messages)[i].is_object()) return reader.Fail(name, "must be an object");
    chat->messages.push_back(ReadMessage((*messages)[i], name, reader));
  }
}

void ReadTools(BodyReader& reader, ChatPrompt* chat) {
  const Json* tools = reader.Value("tools");
  const Json* choice = reader.Value("tool_choice");
  if (choice != nullptr && *choice != "auto" && *choice != "none") {
    return reader.Fail("tool_choice", "must be 'auto' or 'none': the model is not made to call a function");
  }
  if (!reader.Bool("parallel_tool_calls").value_or(true)) {
    return reader.Fail("parallel_tool_calls", "must be true: the model is not kept from calling several");
  }
  if (tools == nullptr) return;
  if (!tools->is_array()) return reader.Fail("tools", "must be a list");
  if (choice != nullptr && *choice == "none") return;
  for (size_t i = 0; i < tools->size(); ++i) {
    const Json& tool = (*tools)[i];
    const std::string name = fmt::format("tools[{}]", i);
    if (!tool.is_object() || Field(tool, "type") != "function")
      return reader.Fail(name + ".type", "must be 'function'");
    const Json& function = Field(tool, "function");
    if (!function.is_object() || !Field(function, "name").is_string())
      return reader.Fail(name + ".function.name", "must be a text");
    chat->tools.push_back(tool.dump());
  }
}

void ReadOutput(BodyReader& reader, OutputFields* output) {
  const bool logprobs = reader.Bool("logprobs").value_or(false);
  const std::optional<int> top = reader.Integer("top_logprobs");
  if (top && !logprobs) reader.Fail("top_logprobs", "needs logprobs to be true");
  if (logprobs) output->logprobs = top.value_or(0);
  const Json* modalities = reader.Value("modalities");
  if (modalities != nullptr && *modalities != Json::array({"text"})) {
    reader.Fail("modalities", R"(must be ["text"])");
  }
}

}  // namespace

void ReadConversation(BodyReader& reader, ChatPrompt* chat) {
  ReadMessages(reader, chat);
  if (const Json* arguments = reader.Object("chat_template_kwargs"))
    chat->template_arguments = arguments->dump();
  chat->add_generation_prompt = reader.Bool("add_generation_prompt");
  chat->continue_final_message = reader.Bool("continue_final_message").value_or(false);
}

absl::StatusOr<ChatCompletionCall> ReadChatCompletionCall(std::string_view body,
                                                          const std::string& base_model) {
  ASSIGN_OR_RETURN(const Json json, ReadBody(body));
  BodyReader reader(json);
  ChatCompletionCall out;
  GenerateCall& call = out.call;
  ReadShared(base_model, reader, &call, &out.wishes);
  ChatPrompt chat;
  chat.take_apart = true;
  ReadConversation(reader, &chat);
  ReadTools(reader, &chat);
  ReadOutput(reader, &call.output);
  const std::optional<int> most = reader.Integer("max_tokens");  // the earlier name
  call.stopping.max_tokens = reader.Integer("max_completion_tokens");
  if (!call.stopping.max_tokens) call.stopping.max_tokens = most;
  reader.Ignore({"prediction"});  // which may only make it faster
  RETURN_IF_ERROR(reader.Finish());
  call.prompt = std::move(chat);
  return out;
}

}  // namespace hydrad
