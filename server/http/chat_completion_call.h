// The body of POST /v1/chat/completions into a call of the front room.
#ifndef HYDRAD_SERVER_HTTP_CHAT_COMPLETION_CALL_H_
#define HYDRAD_SERVER_HTTP_CHAT_COMPLETION_CALL_H_

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

#include "server/front/generate_call.h"
#include "server/http/completion_call.h"  // AnswerWishes

namespace hydrad {

struct ChatCompletionCall {
  GenerateCall call;
  AnswerWishes wishes;
};

// Errors are ReadCompletionCall's. Parts of a message that are no text are refused by their type, and so is a
// choice of tools that would have to be forced.
absl::StatusOr<ChatCompletionCall> ReadChatCompletionCall(std::string_view body,
                                                          const std::string& base_model);

// The conversation itself: `messages` and how the template writes them, without tools.
void ReadConversation(BodyReader& reader, ChatPrompt* chat);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_CHAT_COMPLETION_CALL_H_
