#include "server/rpc/to_proto.h"

#include <utility>

#include "server/adapters/adapter_tokens.h"

namespace hydrad {
namespace {

v1::FinishReason ToProto(FinishReason reason) {
  return reason == FinishReason::kLength ? v1::FINISH_REASON_LENGTH : v1::FINISH_REASON_STOP;
}

v1::Adapter::Tier ToProto(Tier tier) {
  switch (tier) {
    case Tier::kDisk:
      return v1::Adapter::DISK;
    case Tier::kHost:
      return v1::Adapter::HOST;
    case Tier::kDevice:
      return v1::Adapter::DEVICE;
  }
  return v1::Adapter::TIER_UNSPECIFIED;
}

v1::ApplyAdaptersResponse::Change::Action ToProto(AppliedChange::Action action) {
  using Change = v1::ApplyAdaptersResponse::Change;
  switch (action) {
    case AppliedChange::Action::kUnchanged:
      return Change::UNCHANGED;
    case AppliedChange::Action::kCreate:
      return Change::CREATE;
    case AppliedChange::Action::kReplace:
      return Change::REPLACE;
    case AppliedChange::Action::kPin:
      return Change::PIN;
    case AppliedChange::Action::kUnload:
      return Change::UNLOAD;
  }
  return Change::ACTION_UNSPECIFIED;
}

v1::Adapter::State ToProto(AdapterState state) {
  switch (state) {
    case AdapterState::kLoading:
      return v1::Adapter::LOADING;
    case AdapterState::kAvailable:
      return v1::Adapter::AVAILABLE;
    case AdapterState::kUnloading:
      return v1::Adapter::UNLOADING;
    case AdapterState::kFailed:
      return v1::Adapter::FAILED;
    case AdapterState::kUnloaded:
      return v1::Adapter::UNLOADED;
  }
  return v1::Adapter::STATE_UNSPECIFIED;
}

}  // namespace

v1::Logprob ToProto(const Sampled& sampled, const TokenBytes& token_bytes) {
  const auto fill = [&](int32_t token, float logprob, v1::TokenLogprob* entry) {
    entry->set_token(token);
    entry->set_logprob(logprob);
    if (token_bytes) entry->set_bytes(token_bytes(token));
  };
  v1::Logprob out;
  fill(sampled.token, sampled.logprob, out.mutable_token());
  for (const TokenLogprob& top : sampled.top) fill(top.token, top.logprob, out.add_top());
  return out;
}

v1::Chunk ToProto(OutputPiece piece, bool token_ids, const TokenBytes& token_bytes) {
  v1::Chunk out;
  out.set_choice(piece.choice);
  out.set_text(std::move(piece.text));
  if (token_ids) out.mutable_token_ids()->Add(piece.tokens.begin(), piece.tokens.end());
  for (const Sampled& sampled : piece.logprobs) *out.add_logprobs() = ToProto(sampled, token_bytes);
  if (piece.finished) {
    out.set_finish_reason(ToProto(piece.reason));
    out.set_stop(std::move(piece.stop));
  }
  return out;
}

void Merge(const google::protobuf::RepeatedPtrField<v1::CalledTool>& more,
           google::protobuf::RepeatedPtrField<v1::CalledTool>* calls) {
  for (const v1::CalledTool& call : more) {
    v1::CalledTool* last = calls->empty() ? nullptr : calls->Mutable(calls->size() - 1);
    if (last == nullptr || last->index() != call.index()) {
      *calls->Add() = call;
    } else {
      last->mutable_arguments()->append(call.arguments());
    }
  }
}

v1::Chunk ToProto(OutputPiece piece, AnswerReader& answer, bool token_ids, const TokenBytes& token_bytes) {
  const std::vector<AnswerEvent> events = answer.Read(piece);
  const bool stops_for_calls = piece.finished && answer.StopsForCalls(piece);
  piece.text.clear();
  v1::Chunk out = ToProto(std::move(piece), token_ids, token_bytes);
  google::protobuf::RepeatedPtrField<v1::CalledTool> calls;
  for (const AnswerEvent& event : events) {
    switch (event.kind) {
      case AnswerEvent::Kind::kContent:
        out.mutable_text()->append(event.text);
        break;
      case AnswerEvent::Kind::kReasoning:
        out.mutable_reasoning()->append(event.text);
        break;
      case AnswerEvent::Kind::kCallBegins:
      case AnswerEvent::Kind::kArguments: {
        v1::CalledTool* call = calls.Add();
        call->set_index(event.call);
        call->set_id(event.id);
        call->set_name(event.name);
        call->set_arguments(event.text);
        break;
      }
      case AnswerEvent::Kind::kCallEnds:
      case AnswerEvent::Kind::kMarkup:
        break;
    }
  }
  Merge(calls, out.mutable_tool_calls());
  if (stops_for_calls) out.set_finish_reason(v1::FINISH_REASON_TOOL_CALLS);
  return out;
}

v1::Usage ToProto(const Usage& usage) {
  v1::Usage out;
  out.set_prompt_tokens(usage.prompt_tokens);
  out.set_cached_tokens(usage.cached_tokens);
  out.set_generated_tokens(usage.generated_tokens);
  out.set_queue_seconds(Seconds(usage.queue));
  out.set_prefill_seconds(Seconds(usage.prefill));
  out.set_decode_seconds(Seconds(usage.decode));
  return out;
}

v1::Routing ToProto(const AdapterRouting& routing) {
  v1::Routing out;
  out.set_adapter(routing.adapter);
  out.set_tokens(routing.rows);
  for (const AdapterRouting::Router& router : routing.routers) {
    v1::Routing::Router* entry = out.add_routers();
    entry->set_layer(router.layer);
    entry->set_projection(kProjectionNames[static_cast<size_t>(router.projection)]);
    entry->mutable_mean()->Add(router.mean.begin(), router.mean.end());
  }
  for (const std::vector<int32_t>& top : routing.top)
    out.add_choices()->mutable_top()->Add(top.begin(), top.end());
  return out;
}

v1::ExpertRoute ToProto(const RouteTaken& route) {
  v1::ExpertRoute out;
  switch (route.decision) {
    case Decision::kLabel:
      out.set_decision(v1::DECISION_LABEL);
      break;
    case Decision::kLast:
      out.set_decision(v1::DECISION_LAST);
      break;
    case Decision::kVote:
      out.set_decision(v1::DECISION_VOTE);
      break;
    case Decision::kLayer:
      out.set_decision(v1::DECISION_LAYER);
      break;
  }
  out.set_expert(route.expert);
  for (const std::string& vote : route.votes) out.add_votes(vote);
  return out;
}

v1::ApplyAdaptersResponse ToProto(const std::vector<AppliedChange>& changes) {
  v1::ApplyAdaptersResponse out;
  for (const AppliedChange& change : changes) {
    auto* to = out.add_changes();
    to->set_name(change.name);
    to->set_action(ToProto(change.action));
  }
  return out;
}

v1::Adapter ToProto(const AdapterInfo& info) {
  v1::Adapter out;
  out.set_name(info.name);
  out.set_state(ToProto(info.state));
  out.set_generation(info.generation);
  out.set_path(info.path);
  out.set_family(info.family);
  out.set_etag(info.digest);
  out.set_device_bytes(info.device_bytes);
  out.set_max_rank(info.max_rank);
  out.set_experts(info.experts);
  for (const std::string& target : info.targets) out.add_targets(target);
  for (const std::string& name : info.expert_names) out.add_expert_names(name);
  for (const ComponentInfo& component : info.components) {
    if (component.kind != ComponentInfo::Kind::kExpert) continue;
    v1::Adapter::Expert* expert = out.add_moa_experts();
    expert->set_name(component.expert);
    expert->set_etag(component.digest);
    expert->set_generation(component.generation);
    expert->set_device_bytes(component.device_bytes);
  }
  out.set_requests(info.handles);
  if (!info.error.ok()) out.set_error(std::string(info.error.message()));
  out.set_tier(ToProto(info.tier));
  out.set_pinned(info.pinned);
  out.set_host_bytes(info.host_bytes);
  out.set_lenient(info.lenient);
  for (const std::string& warning : info.warnings) out.add_warnings(warning);
  if (info.tokens != nullptr) out.set_added_tokens(info.tokens->count);
  return out;
}

v1::ListAdaptersResponse ToProto(const AdapterPage& page) {
  v1::ListAdaptersResponse out;
  for (const AdapterInfo& info : page.adapters) *out.add_adapters() = ToProto(info);
  out.set_next_page_token(page.next);
  return out;
}

v1::Start ToProto(const AnswerHead& head, const std::string& base_model) {
  v1::Start out;
  out.set_model(base_model);
  out.set_prompt_tokens(head.prompt_tokens);
  out.set_adapter(head.adapter);
  for (const AnswerHead::Adapter& adapter : head.adapters) {
    v1::UsedAdapter* used = out.add_adapters();
    used->set_name(adapter.name);
    used->set_weight(adapter.weight);
  }
  out.set_request_id(head.request_id);
  return out;
}

google::protobuf::Timestamp ToProto(std::chrono::system_clock::time_point time) {
  const int64_t nanos = std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
  google::protobuf::Timestamp out;
  out.set_seconds(nanos / 1'000'000'000);
  out.set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  return out;
}

}  // namespace hydrad
