// What a client asks for, on plain structs: every front end translates its messages into these, and nothing
// behind it knows a protocol.
//
// An optional that is empty, like an empty text or list where nothing else is said, is a field that the
// client left out: defaults are given where the request is made (intake.h), so that the validator can tell a
// field that was set from one that was not. Errors name fields by their path in hydrad.v1 ("sampling.top_p");
// a front end whose fields have other names translates the path.
#ifndef HYDRAD_SERVER_FRONT_GENERATE_CALL_H_
#define HYDRAD_SERVER_FRONT_GENERATE_CALL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "kernels/sampling.h"
#include "server/backend/expert_router.h"
#include "server/front/chat_call.h"
#include "server/text/answer_form.h"

namespace hydrad {

struct SamplingFields {
  std::optional<float> temperature, top_p;
  std::optional<int> top_k;
  std::optional<float> min_p, repetition_penalty, presence_penalty, frequency_penalty;
  std::vector<SamplingParams::Bias> logit_bias;  // each token once
  std::optional<uint64_t> seed;
  std::optional<int> n;  // choices
};

struct StoppingFields {
  std::optional<int> max_tokens, min_tokens;
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
};

struct OutputFields {
  bool token_ids = false;  // send ids beside the text
  std::optional<int> logprobs,
      prompt_logprobs;  // of so many of the most likely tokens, and of the one that is there
  bool echo = false;    // the prompt goes before each choice's text
  bool keep_special_tokens = false;
  bool routing = false;  // tell at the end how routers weighed their experts
};

// One adapter of a composition.
struct AdapterWeight {
  std::string name;
  std::optional<float> weight;
};

// Text is generated. A deadline is the caller's (caller.h).
struct GenerateCall {
  // Nothing, a text, ids or a conversation.
  std::variant<std::monostate, std::string, std::vector<int32_t>, ChatPrompt> prompt;
  bool parse_special = false, no_special = false;  // of a text prompt
  std::string adapter;                             // "": the base model, or `adapters`
  std::vector<AdapterWeight> adapters;             // a composition, instead of `adapter`
  std::optional<int> adapter_top_k;
  std::string expert;
  // May hold a number that is none of them, which the validator refuses.
  std::optional<Decision> decision;
  SamplingFields sampling;
  StoppingFields stopping;
  OutputFields output;
  std::optional<AnswerForm> form;  // that the answer must have
  // Not empty: nothing is generated, and of each of these texts it is asked how likely the model is to say it
  // (label_scores.h). Then no form, and nothing of sampling, stopping and output but `routing`, is set.
  std::vector<std::string> labels;
};

// Whether a message that asks for this takes long to deal with, however short it is: such a one is not for
// the thread that brings it (Intake::Work).
inline bool TakesLong(const GenerateCall& call) { return call.form.has_value() || !call.labels.empty(); }

struct TokenizeCall {
  std::string text;
  std::string adapter;  // whose tokens are meant; "": those of the base model
  bool parse_special = false, no_special = false;
};

struct DetokenizeCall {
  std::vector<int32_t> token_ids;
  std::string adapter;  // as above
  bool keep_special_tokens = false;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_GENERATE_CALL_H_
