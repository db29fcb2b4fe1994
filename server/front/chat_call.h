// A conversation, which a chat template makes a prompt of.
#ifndef HYDRAD_SERVER_FRONT_CHAT_CALL_H_
#define HYDRAD_SERVER_FRONT_CHAT_CALL_H_

#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace hydrad {

// A function that a message of the assistant calls.
struct ChatToolCall {
  std::string id{};         // "": it has none
  std::string name{};       // of the function
  std::string arguments{};  // a JSON object, as text; "": {}
};

struct ChatMessage {
  std::string role{};  // "system", "user", "assistant", "tool", or another that the template knows
  // Nothing, as beside tool calls; a text; or the parts of one, which the template gets with a line break
  // between each two.
  std::variant<std::monostate, std::string, std::vector<std::string>> content{};
  std::string reasoning_content{};  // "": none
  std::string name{};               // of who speaks, or of the function that answers; "": none
  std::vector<ChatToolCall> tool_calls{};
  std::string tool_call_id{};  // of a function's answer: the call that it answers; "": none
};

// What is rendered: by the template of the one adapter that the call uses, where it brings one, else by the
// base model's.
struct ChatPrompt {
  std::vector<ChatMessage> messages{};
  // The functions that may be called, each a JSON object as text, which the template gets as it is:
  // {"type": "function", "function": {"name": ..., "description": ..., "parameters": {...}}}.
  std::vector<std::string> tools{};
  // A JSON object, as text: variables of the template beside the above, such as {"enable_thinking": false}.
  // "": none.
  std::string template_arguments{};
  // The prompt ends where an answer begins; by default so, unless the final message is continued.
  std::optional<bool> add_generation_prompt{};
  // The prompt ends inside the final message, with its content.
  bool continue_final_message = false;
  // The answer, if it need not have a form, is to be taken apart (AnswerHead::answer).
  bool take_apart = false;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_CHAT_CALL_H_
