#include "server/rpc/from_proto.h"

#include <utility>

namespace hydrad {
namespace {

// A number that is none of ours, which a client of a later version may send, stays none.
std::optional<Decision> FromProto(v1::Decision decision) {
  switch (decision) {
    case v1::DECISION_UNSPECIFIED:
      return std::nullopt;
    case v1::DECISION_LABEL:
      return Decision::kLabel;
    case v1::DECISION_LAST:
      return Decision::kLast;
    case v1::DECISION_VOTE:
      return Decision::kVote;
    case v1::DECISION_LAYER:
      return Decision::kLayer;
    default:
      return static_cast<Decision>(0xFF);
  }
}

// nullopt where nothing is asked for.
std::optional<AnswerForm> FromProto(v1::AnswerForm message) {
  using Kind = AnswerForm::Kind;
  switch (message.form_case()) {
    case v1::AnswerForm::kJsonObject:
      if (!message.json_object()) return std::nullopt;
      return AnswerForm{.kind = Kind::kJsonObject, .text = "", .choices = {}};
    case v1::AnswerForm::kJsonSchema:
      return AnswerForm{
          .kind = Kind::kJsonSchema, .text = std::move(*message.mutable_json_schema()), .choices = {}};
    case v1::AnswerForm::kRegex:
      return AnswerForm{.kind = Kind::kRegex, .text = std::move(*message.mutable_regex()), .choices = {}};
    case v1::AnswerForm::kChoice: {
      const auto& texts = message.choice().texts();
      return AnswerForm{.kind = Kind::kChoice, .text = "", .choices = {texts.begin(), texts.end()}};
    }
    case v1::AnswerForm::kGrammar:
      return AnswerForm{.kind = Kind::kEbnf, .text = std::move(*message.mutable_grammar()), .choices = {}};
    case v1::AnswerForm::FORM_NOT_SET:
      return std::nullopt;
  }
  return std::nullopt;
}

ChatMessage FromProto(v1::ChatMessage message) {
  ChatMessage out;
  out.role = std::move(*message.mutable_role());
  if (message.has_content()) out.content = std::move(*message.mutable_content());
  out.reasoning_content = std::move(*message.mutable_reasoning_content());
  out.name = std::move(*message.mutable_name());
  out.tool_call_id = std::move(*message.mutable_tool_call_id());
  for (v1::ToolCall& call : *message.mutable_tool_calls()) {
    out.tool_calls.push_back({.id = std::move(*call.mutable_id()),
                              .name = std::move(*call.mutable_name()),
                              .arguments = std::move(*call.mutable_arguments())});
  }
  return out;
}

// What GenerateRequest and ChatRequest have under the same names.
template <class Message>
void SetAllButPrompt(Message& message, GenerateCall* out) {
  out->adapter = std::move(*message.mutable_adapter());
  for (v1::WeightedAdapter& adapter : *message.mutable_adapters()) {
    AdapterWeight& to = out->adapters.emplace_back();
    to.name = std::move(*adapter.mutable_name());
    if (adapter.has_weight()) to.weight = adapter.weight();
  }
  if (message.has_adapter_top_k()) out->adapter_top_k = message.adapter_top_k();
  out->expert = std::move(*message.mutable_expert());
  out->decision = FromProto(message.decision());
  out->sampling = hydrad::FromProto(message.sampling());
  out->stopping = hydrad::FromProto(message.stopping());
  out->output = hydrad::FromProto(message.output());
  if (message.has_form()) out->form = FromProto(std::move(*message.mutable_form()));
}

}  // namespace

SamplingFields FromProto(const v1::Sampling& s) {
  SamplingFields out;
  if (s.has_temperature()) out.temperature = s.temperature();
  if (s.has_top_p()) out.top_p = s.top_p();
  if (s.has_top_k()) out.top_k = s.top_k();
  if (s.has_min_p()) out.min_p = s.min_p();
  if (s.has_repetition_penalty()) out.repetition_penalty = s.repetition_penalty();
  if (s.has_presence_penalty()) out.presence_penalty = s.presence_penalty();
  if (s.has_frequency_penalty()) out.frequency_penalty = s.frequency_penalty();
  for (const auto& [token, bias] : s.logit_bias()) out.logit_bias.push_back({token, bias});
  if (s.has_seed()) out.seed = s.seed();
  if (s.has_n()) out.n = s.n();
  return out;
}

StoppingFields FromProto(const v1::Stopping& s) {
  StoppingFields out;
  if (s.has_max_tokens()) out.max_tokens = s.max_tokens();
  if (s.has_min_tokens()) out.min_tokens = s.min_tokens();
  out.stop.assign(s.stop().begin(), s.stop().end());
  out.stop_token_ids.assign(s.stop_token_ids().begin(), s.stop_token_ids().end());
  out.ignore_eos = s.ignore_eos();
  return out;
}

OutputFields FromProto(const v1::Output& output) {
  OutputFields out;
  out.token_ids = output.token_ids();
  if (output.has_logprobs()) out.logprobs = output.logprobs();
  if (output.has_prompt_logprobs()) out.prompt_logprobs = output.prompt_logprobs();
  out.echo = output.echo();
  out.keep_special_tokens = output.keep_special_tokens();
  out.routing = output.routing();
  return out;
}

GenerateCall FromProto(v1::GenerateRequest message) {
  GenerateCall out;
  if (message.has_text()) {
    out.prompt = std::move(*message.mutable_text());
  } else if (message.has_token_ids()) {
    const auto& ids = message.token_ids().ids();
    out.prompt = std::vector<int32_t>(ids.begin(), ids.end());
  }
  out.parse_special = message.parse_special();
  out.no_special = message.no_special();
  SetAllButPrompt(message, &out);
  return out;
}

GenerateCall FromProto(v1::ChatRequest message) {
  ChatPrompt chat;
  for (v1::ChatMessage& said : *message.mutable_messages())
    chat.messages.push_back(FromProto(std::move(said)));
  for (std::string& tool : *message.mutable_tools()) chat.tools.push_back(std::move(tool));
  chat.template_arguments = std::move(*message.mutable_template_arguments());
  if (message.has_add_generation_prompt()) chat.add_generation_prompt = message.add_generation_prompt();
  chat.continue_final_message = message.continue_final_message();
  chat.take_apart = true;
  GenerateCall out;
  out.prompt = std::move(chat);
  SetAllButPrompt(message, &out);
  return out;
}

TokenizeCall FromProto(v1::TokenizeRequest message) {
  return {.text = std::move(*message.mutable_text()),
          .adapter = std::move(*message.mutable_adapter()),
          .parse_special = message.parse_special(),
          .no_special = message.no_special()};
}

DetokenizeCall FromProto(const v1::DetokenizeRequest& message) {
  return {.token_ids = {message.token_ids().begin(), message.token_ids().end()},
          .adapter = message.adapter(),
          .keep_special_tokens = message.keep_special_tokens()};
}

LoadCall FromProto(const v1::LoadAdapterRequest& message) {
  return {.name = message.name(),
          .path = message.path(),
          .etag = message.etag(),
          .request_id = message.request_id(),
          .lenient = message.lenient(),
          .validate_only = message.validate_only()};
}

UnloadCall FromProto(const v1::UnloadAdapterRequest& message) {
  return {.name = message.name(),
          .etag = message.etag(),
          .request_id = message.request_id(),
          .force = message.force()};
}

PinCall FromProto(const v1::PinAdapterRequest& message) {
  return {.name = message.name(), .request_id = message.request_id(), .pinned = true};
}

PinCall FromProto(const v1::UnpinAdapterRequest& message) {
  return {.name = message.name(), .request_id = message.request_id(), .pinned = false};
}

ApplyCall FromProto(const v1::ApplyAdaptersRequest& message) {
  ApplyCall out;
  for (const v1::WantedAdapter& w : message.adapters())
    out.adapters.push_back({w.name(), w.path(), w.etag(), w.pinned(), w.lenient()});
  out.request_id = message.request_id();
  out.validate_only = message.validate_only();
  out.force = message.force();
  return out;
}

GetCall FromProto(const v1::GetAdapterRequest& message) { return {.name = message.name()}; }

ListCall FromProto(const v1::ListAdaptersRequest& message) {
  return {.page_size = message.page_size(), .page_token = message.page_token()};
}

}  // namespace hydrad
