// From a conversation to the text of a prompt.
#ifndef HYDRAD_SERVER_FRONT_CHAT_PROMPT_H_
#define HYDRAD_SERVER_FRONT_CHAT_PROMPT_H_

#include <absl/status/statusor.h>

#include <chrono>

#include "server/base/json.h"
#include "server/front/chat_call.h"
#include "server/front/validate.h"
#include "server/text/chat_format.h"

namespace hydrad {

// What a template may ask for of the conversation, as `transformers` gives it: messages (calls of functions
// with their arguments as objects), tools (null without any), add_generation_prompt, and the arguments by
// their names. REQUIRES: the conversation is valid.
Json ChatContext(const ChatPrompt& chat);

// The prompt's text, and which parts of it are the client's. Errors: NO_CHAT_TEMPLATE (see ChatFormat), and
// INVALID_FIELD of "messages" for what the template refuses or cannot do, and where there is no final message
// to go on with. REQUIRES: the conversation is valid.
absl::StatusOr<ChatTemplate::Rendered> RenderChat(const ChatPrompt& chat, const ChatFormat& format,
                                                  const RequestLimits& limits,
                                                  std::chrono::system_clock::time_point now);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_CHAT_PROMPT_H_
