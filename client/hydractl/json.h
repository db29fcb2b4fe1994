// The daemon's messages as the JSON that `--json` prints. Keys are those of the messages; every key is always
// there unless its comment says otherwise, so that a script need not ask.
#ifndef HYDRAD_CLIENT_HYDRACTL_JSON_H_
#define HYDRAD_CLIENT_HYDRACTL_JSON_H_

#include <string>

#include "proto/admin.pb.h"
#include "proto/inference.pb.h"
#include "server/base/json.h"

namespace hydrad {

// {text, token_ids, finish_reason, stop?, usage, adapter, generation, request_id, route?, logprobs?,
// choices?, adapters?, approximate?, routing?}. The first group is of choice 0; `choices` is there when there
// are several, `logprobs` and `routing` when they were asked for, `adapters` for a composition, `approximate`
// when it is true, `route` ({decision, expert?, votes?}) for an MoA.
Json ToJson(const v1::GenerateResult& result);
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

#endif  // HYDRAD_CLIENT_HYDRACTL_JSON_H_
