// The part of the validator that looks at conversations.
#ifndef HYDRAD_SERVER_FRONT_VALIDATE_CHAT_H_
#define HYDRAD_SERVER_FRONT_VALIDATE_CHAT_H_

#include "server/front/chat_call.h"
#include "server/front/checker.h"
#include "server/front/validate.h"

namespace hydrad {

// Tells `check` what is wrong with the conversation: every list, text and nesting has a bound after it. What
// the template makes of it is for the template to say.
void CheckChat(const ChatPrompt& chat, const RequestLimits& limits, Checker& check);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_VALIDATE_CHAT_H_
