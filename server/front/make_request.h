// The stages between a call that was let in and the scheduler: each takes what the one before gave, and gives
// the next its value or a refusal. All of it takes long for a long text.
#ifndef HYDRAD_SERVER_FRONT_MAKE_REQUEST_H_
#define HYDRAD_SERVER_FRONT_MAKE_REQUEST_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/adapters/adapter_tokens.h"
#include "server/front/caller.h"
#include "server/front/generate_call.h"
#include "server/front/refusal.h"
#include "server/front/rooms.h"
#include "server/scheduler/request.h"
#include "server/text/answer_parser.h"

namespace hydrad {

// What an answer says beside its tokens, known before the first of them.
struct AnswerHead {
  struct Adapter {
    std::string name;
    float weight = 1;
  };
  std::string request_id;  // what the client is told that its request is called
  int prompt_tokens = 0;
  int32_t first_token = 0;  // of the prompt
  std::string adapter;      // as GenerateCall's; so is the next
  std::vector<Adapter> adapters;
  int choices = 1;
  std::vector<int> label_tokens{};  // of each label, where labels are scored: a choice's first so many tokens
  // The prompt's text, when it is to be repeated: as it was sent, of a conversation what the template wrote,
  // or of ids all whole characters, so that each choice's text goes on where it ends.
  std::string echo;
  bool token_ids = false;                         // send ids beside the text
  std::shared_ptr<const AdapterTokens> tokens{};  // what ids mean; null: what the base's do
  // How to take the answer apart, by an AnswerReader; nothing: what is generated is all one text.
  std::optional<AnswerParser::Options> answer;
};

// A request that may be submitted once it has an id and a sink.
struct Prepared {
  Request request;
  AnswerHead head;  // without its request_id
};

// Valid, permitted, adapters held, text read: in that order. Refusals: INVALID_FIELD, ADAPTER_NOT_ALLOWED,
// ADAPTER_NOT_FOUND, ADAPTER_NOT_READY, NO_ROOM, ADAPTER_FAILED, NO_CHAT_TEMPLATE, INVALID_FIELD. Fields that
// were left out have the defaults of the .proto. A conversation is written as the generation of the adapter
// says that serves now, though the request may run on the next.
OrRefusal<Prepared> MakeRequest(const Rooms& rooms, GenerateCall call, const EnteredCall& from);

// The parts of MakeRequest that give fields that were left out their defaults. REQUIRES: the fields are
// valid.
SamplingParams ParamsOf(const SamplingFields& fields);
OutputOptions OptionsOf(const OutputFields& fields);
// `fields` gives its lists away.
Stopping StoppingOf(StoppingFields fields);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_MAKE_REQUEST_H_
