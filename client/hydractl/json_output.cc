#include "client/hydractl/json_output.h"

#include <google/protobuf/util/time_util.h>

#include "client/error_text.h"

namespace hydrad {
namespace {

using google::protobuf::util::TimeUtil;

Json ToJson(const v1::Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens()},       {"cached_tokens", usage.cached_tokens()},
          {"generated_tokens", usage.generated_tokens()}, {"queue_seconds", usage.queue_seconds()},
          {"prefill_seconds", usage.prefill_seconds()},   {"decode_seconds", usage.decode_seconds()}};
}

Json ToJson(const v1::TokenLogprob& token) {
  return {{"token", token.token()}, {"text", token.bytes()}, {"logprob", token.logprob()}};
}

Json LogprobsJson(const google::protobuf::RepeatedPtrField<v1::Logprob>& logprobs) {
  Json list = Json::array();
  for (const v1::Logprob& logprob : logprobs) {
    Json item = ToJson(logprob.token());
    Json& top = item["top"] = Json::array();
    for (const v1::TokenLogprob& token : logprob.top()) top.push_back(ToJson(token));
    list.push_back(std::move(item));
  }
  return list;
}

Json ChoiceJson(const v1::Chunk& choice) {
  Json json = {{"text", choice.text()},
               {"token_ids", choice.token_ids()},
               {"finish_reason", FinishReasonName(choice.finish_reason())}};
  if (!choice.stop().empty()) json["stop"] = choice.stop();
  if (!choice.reasoning().empty()) json["reasoning"] = choice.reasoning();
  for (const v1::CalledTool& call : choice.tool_calls()) {
    json["tool_calls"].push_back(
        {{"index", call.index()}, {"id", call.id()}, {"name", call.name()}, {"arguments", call.arguments()}});
  }
  if (!choice.logprobs().empty()) json["logprobs"] = LogprobsJson(choice.logprobs());
  return json;
}

Json ToJson(const v1::ExpertRoute& route) {
  Json json = {{"decision", DecisionName(route.decision())}};
  if (!route.expert().empty()) json["expert"] = route.expert();
  if (!route.votes().empty()) json["votes"] = route.votes();
  return json;
}

// What is known from the first token on.
void AddStart(const v1::Start& start, Json& json) {
  json["model"] = start.model();
  json["adapter"] = start.adapter();
  json["generation"] = start.generation();
  json["request_id"] = start.request_id();
  if (start.has_route()) json["route"] = ToJson(start.route());
  for (const v1::UsedAdapter& used : start.adapters()) {
    json["adapters"].push_back(
        {{"name", used.name()}, {"generation", used.generation()}, {"weight", used.weight()}});
  }
  if (start.approximate()) json["approximate"] = true;
}

}  // namespace

std::string DecisionName(v1::Decision decision) {
  switch (decision) {
    case v1::DECISION_LABEL:
      return "label";
    case v1::DECISION_LAST:
      return "last";
    case v1::DECISION_VOTE:
      return "vote";
    case v1::DECISION_LAYER:
      return "layer";
    default:
      return "";
  }
}

std::string FinishReasonName(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_STOP:
      return "stop";
    case v1::FINISH_REASON_LENGTH:
      return "length";
    case v1::FINISH_REASON_TOOL_CALLS:
      return "tool_calls";
    default:
      return "";
  }
}

Json ToJson(const v1::GenerateResult& result) {
  Json json = ChoiceJson(result.choices_size() > 0 ? result.choices(0) : v1::Chunk());
  AddStart(result.start(), json);
  json["usage"] = ToJson(result.usage());
  Json& choices = json["choices"] = Json::array();
  for (const v1::Chunk& choice : result.choices()) choices.push_back(ChoiceJson(choice));
  for (const v1::Routing& routing : result.routing()) json["routing"].push_back(ToJson(routing));
  return json;
}

Json ToJson(const v1::GenerateResponse& event) {
  if (event.has_chunk()) {
    Json json = {{"event", "chunk"}, {"choice", event.chunk().choice()}};
    json.update(ChoiceJson(event.chunk()));
    return json;
  }
  Json json = {{"event", event.has_start() ? "start" : "end"}};
  if (event.has_start()) {
    json["prompt_tokens"] = event.start().prompt_tokens();
    AddStart(event.start(), json);
    return json;
  }
  json["usage"] = ToJson(event.end().usage());
  for (const v1::Routing& routing : event.end().routing()) json["routing"].push_back(ToJson(routing));
  return json;
}

Json ToJson(const absl::Status& status) {
  const ErrorDetails details = DetailsOf(status);
  Json json = {{"code", CodeName(status.code())}, {"message", std::string(status.message())}};
  if (!details.reason.empty()) json["reason"] = details.reason;
  if (!details.metadata.empty()) json["metadata"] = details.metadata;
  for (const auto& [field, description] : details.field_violations) {
    json["fields"].push_back({{"field", field}, {"description", description}});
  }
  if (details.retry_after) json["retry_after_seconds"] = *details.retry_after;
  return json;
}

Json ToJson(const v1::Routing& routing) {
  Json routers = Json::array(), choices = Json::array();
  for (const v1::Routing::Router& router : routing.routers()) {
    routers.push_back(
        {{"layer", router.layer()}, {"projection", router.projection()}, {"mean", router.mean()}});
  }
  for (const v1::Routing::Choice& choice : routing.choices()) choices.push_back({{"top", choice.top()}});
  return {{"adapter", routing.adapter()},
          {"tokens", routing.tokens()},
          {"routers", std::move(routers)},
          {"choices", std::move(choices)}};
}

Json ToJson(const v1::Adapter& adapter) {
  Json json = {{"name", adapter.name()},
               {"state", v1::Adapter::State_Name(adapter.state())},
               {"generation", adapter.generation()},
               {"path", adapter.path()},
               {"family", adapter.family()},
               {"etag", adapter.etag()},
               {"device_bytes", adapter.device_bytes()},
               {"max_rank", adapter.max_rank()},
               {"experts", adapter.experts()},
               {"targets", adapter.targets()},
               {"requests", adapter.requests()},
               {"error", adapter.error()},
               {"tier", v1::Adapter::Tier_Name(adapter.tier())},
               {"pinned", adapter.pinned()},
               {"host_bytes", adapter.host_bytes()},
               {"lenient", adapter.lenient()},
               {"warnings", adapter.warnings()}};
  if (adapter.added_tokens() > 0) json["added_tokens"] = adapter.added_tokens();
  if (!adapter.expert_names().empty()) json["expert_names"] = adapter.expert_names();
  for (const v1::Adapter::Expert& expert : adapter.moa_experts()) {
    json["moa_experts"].push_back({{"name", expert.name()},
                                   {"etag", expert.etag()},
                                   {"generation", expert.generation()},
                                   {"device_bytes", expert.device_bytes()}});
  }
  return json;
}

Json ToJson(const v1::ApplyAdaptersResponse& applied) {
  Json list = Json::array();
  for (const auto& change : applied.changes()) {
    list.push_back({{"name", change.name()},
                    {"action", v1::ApplyAdaptersResponse::Change::Action_Name(change.action())}});
  }
  return list;
}

Json ToJson(const v1::AdapterEvent& event) {
  return {{"time", TimeUtil::ToString(event.time())}, {"adapter", ToJson(event.adapter())}};
}

Json ToJson(const v1::ServerStatus& status) {
  return {{"version", status.version()},
          {"base_model", status.base_model()},
          {"device", status.device()},
          {"weight_type", status.weight_type()},
          {"started", TimeUtil::ToString(status.started())},
          {"draining", status.draining()},
          {"requests_running", status.requests_running()},
          {"requests_waiting", status.requests_waiting()},
          {"kv_blocks_total", status.kv_blocks_total()},
          {"kv_blocks_free", status.kv_blocks_free()},
          {"adapters", status.adapters()},
          {"adapter_bytes_used", status.adapter_bytes_used()},
          {"adapter_bytes_budget", status.adapter_bytes_budget()},
          {"adapter_host_bytes_used", status.adapter_host_bytes_used()},
          {"adapter_host_bytes_budget", status.adapter_host_bytes_budget()},
          {"max_context", status.max_context()}};
}

Json ToJson(const v1::ListModelsResponse& models) {
  Json list = Json::array();
  for (const auto& model : models.models()) {
    list.push_back({{"name", model.name()}, {"generation", model.generation()}, {"chat", model.chat()}});
  }
  return {{"base_model", models.base_model()}, {"models", std::move(list)}};
}

Json ToJson(const v1::TokenizeResponse& tokens) {
  return {{"token_ids", tokens.token_ids()}, {"tokens", tokens.tokens()}};
}

std::string Line(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace hydrad
