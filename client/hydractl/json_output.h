// The daemon's messages as the JSON that `--json` prints. Keys are those of the messages; every key is always
// there unless its comment says otherwise, so that a script need not ask.
#ifndef HYDRAD_CLIENT_HYDRACTL_JSON_OUTPUT_H_
#define HYDRAD_CLIENT_HYDRACTL_JSON_OUTPUT_H_

#include <absl/status/status.h>

#include <string>

#include "hydrad/v1/admin.pb.h"
#include "hydrad/v1/inference.pb.h"
#include "server/base/json.h"

namespace hydrad {

// {model, adapter, generation, request_id, choices: [{text, token_ids, finish_reason, stop?, logprobs?}],
// usage, text, token_ids, finish_reason, stop?, logprobs?, route?, adapters?, approximate?, routing?}.
// `model` is the base model; what stands beside `choices` under the same names is of choice 0. `logprobs`
// ([{token, text, logprob, top}]) and `routing` are there when they were asked for, `adapters` for a
// composition, `approximate` when it is true, `route` ({decision, expert?, votes?}) for an MoA.
Json ToJson(const v1::GenerateResult& result);
// An event of the stream, with the same keys as above where they are known by then: {event: "start", model,
// adapter, ...}, {event: "chunk", choice, text, token_ids, finish_reason, ...}, {event: "end", usage, ...}.
Json ToJson(const v1::GenerateResponse& event);
// {code, message, reason?, metadata?, fields?: [{field, description}], retry_after_seconds?}
Json ToJson(const absl::Status& status);
// {adapter, tokens, routers: [{layer, projection, mean}], choices: [{top}]}
Json ToJson(const v1::Routing& routing);
Json ToJson(const v1::Adapter& adapter);
Json ToJson(const v1::AdapterEvent& event);
Json ToJson(const v1::ApplyAdaptersResponse& applied);  // {time, adapter}
Json ToJson(const v1::ServerStatus& status);
Json ToJson(const v1::ListModelsResponse& models);
Json ToJson(const v1::TokenizeResponse& tokens);

// One line. Bytes that are not UTF-8 become U+FFFD.
std::string Line(const Json& json);

// "stop" or "length"; "" while unset.
std::string FinishReasonName(v1::FinishReason reason);
// "label", "last", "vote", "layer"; "" for others.
std::string DecisionName(v1::Decision decision);

}  // namespace hydrad

#endif  // HYDRAD_CLIENT_HYDRACTL_JSON_OUTPUT_H_
