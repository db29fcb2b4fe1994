#include "server/front/make_request.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <random>
#include <utility>

#include "server/base/status.h"
#include "server/base/status_macros.h"
#include "server/front/answer_reader.h"
#include "server/front/chat_prompt.h"
#include "server/front/error_details.h"
#include "server/front/label_scores.h"
#include "server/front/validate.h"

namespace hydrad {
namespace {

using Names = std::vector<std::string>;

uint64_t Random64() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

Refusal Invalid(absl::Status status) { return {.status = std::move(status), .metric = "invalid"}; }

// Validates a call. Ids of tokens may be those that its adapter brings, which the tenant may use: who asks
// for nothing else does not look it up.
absl::Status ValidateFor(const Rooms& rooms, const GenerateCall& call, const std::string& tenant) {
  absl::Status valid = Validate(call, rooms.limits);
  if (valid.ok() || call.adapter.empty() || !rooms.admission.Allowed(tenant, call.adapter)) return valid;
  const absl::StatusOr<AdapterInfo> info = rooms.adapters.Get(call.adapter);
  if (!info.ok() || info->tokens == nullptr) return valid;
  RequestLimits limits = rooms.limits;
  limits.vocab_size = std::max(limits.vocab_size, info->tokens->vocab);
  return Validate(call, limits);
}

// All that the call uses; of the base model none.
Names AdaptersOf(const GenerateCall& call) {
  Names names;
  if (!call.adapter.empty()) names.push_back(call.adapter);
  for (const AdapterWeight& composed : call.adapters) names.push_back(composed.name);
  return names;
}

// The first of the adapters, or the base model, that the tenant may not use.
std::optional<Refusal> Forbidden(const Admission& admission, const std::string& tenant, const Names& names) {
  const auto refuse = [&](const std::string& adapter) -> std::optional<Refusal> {
    if (admission.Allowed(tenant, adapter)) return std::nullopt;
    const absl::Status denied =
        adapter.empty() ? PermissionDenied("tenant '{}' may not use the base model", tenant)
                        : PermissionDenied("tenant '{}' may not use adapter '{}'", tenant, adapter);
    return Refusal{
        .status = WithReason(denied, "ADAPTER_NOT_ALLOWED", {{"tenant", tenant}, {"adapter", adapter}}),
        .metric = "permission",
        .audited = true,
        .actor = tenant,
        .adapter = adapter};
  };
  if (names.empty()) return refuse("");
  for (const std::string& name : names) {
    if (auto refusal = refuse(name)) return refusal;
  }
  return std::nullopt;
}

Refusal AdaptersRefused(const absl::Status& why, const Names& names, const std::string& tenant) {
  const std::string adapters = fmt::format("{}", fmt::join(names, ","));
  const std::map<std::string, std::string> metadata = {{"adapter", adapters}};
  switch (why.code()) {
    case absl::StatusCode::kNotFound:
      return {.status = WithReason(why, "ADAPTER_NOT_FOUND", metadata), .metric = "unknown_adapter"};
    case absl::StatusCode::kUnavailable:
      return {
          .status = WithRetry(WithReason(why, "ADAPTER_NOT_READY", metadata), std::chrono::milliseconds(500)),
          .metric = "adapter_not_ready"};
    case absl::StatusCode::kResourceExhausted:
      return {.status = WithReason(why, "NO_ROOM", metadata),
              .metric = "no_room",
              .audited = true,
              .actor = tenant,
              .adapter = adapters};
    default:
      return {.status = WithReason(why, "ADAPTER_FAILED", metadata), .metric = "adapter_failed"};
  }
}

OrRefusal<std::vector<AdapterHandle>> Hold(AdapterStore& store, const Names& names,
                                           const std::string& tenant) {
  if (names.empty()) return std::vector<AdapterHandle>(1);  // the base model
  absl::StatusOr<std::vector<AdapterHandle>> handles = store.AcquireAll(names);
  if (!handles.ok()) return AdaptersRefused(handles.status(), names, tenant);
  return *std::move(handles);
}

// How conversations with what the call uses are written: as the one adapter says, where it says anything.
std::shared_ptr<const ChatFormat> FormatOf(const Rooms& rooms, const std::vector<AdapterHandle>& handles) {
  std::shared_ptr<const ChatFormat> own = handles.size() == 1 ? handles.front().chat() : nullptr;
  if (own != nullptr) return own;
  return rooms.chat;
}

Refusal ChatRefused(const absl::Status& why, bool own, const AdapterHandle& adapter) {
  if (!absl::IsFailedPrecondition(why)) return Invalid(why);
  const std::string whose = own ? fmt::format("adapter '{}'", adapter.name()) : "the base model";
  return Invalid(WithReason(
      FailedPrecondition("{} {}: Generate takes the whole prompt as text", whose, std::string(why.message())),
      ReasonOf(why)));
}

// As the one adapter of a call writes text, where it brings tokens.
const Tokenizer& TokenizerOf(const Rooms& rooms, const AdapterTokens* own) {
  return own == nullptr ? rooms.tokenizer : *own->tokenizer;
}

// A prompt's tokens; of a conversation whose answer is to be taken apart, how; and how the prompt's text with
// more behind it is written in tokens, where it is a text.
struct ReadText {
  std::vector<int32_t> ids;
  std::optional<AnswerParser::Options> answer{};
  EncodeBehind encode_behind{};
};

// The conversation as text, which takes its place in the call, and as tokens; special ones where the template
// has written them.
OrRefusal<ReadText> ReadChat(const Rooms& rooms, const std::vector<AdapterHandle>& handles,
                             const Tokenizer& tokenizer, GenerateCall* call) {
  const ChatPrompt& chat = std::get<ChatPrompt>(call->prompt);
  const std::shared_ptr<const ChatFormat> format = FormatOf(rooms, handles);
  absl::StatusOr<ChatTemplate::Rendered> rendered =
      RenderChat(chat, *format, rooms.limits, std::chrono::system_clock::now());
  if (!rendered.ok()) return ChatRefused(rendered.status(), format != rooms.chat, handles.front());
  ReadText read;
  read.ids = tokenizer.Encode(rendered->text, rendered->from_data);
  // An answer of a form is the form's from its first token on: whatever looks like markup in it is content.
  if (chat.take_apart && !call->form) {
    read.answer = AnswerOptions(chat, rooms.tool_format, format->source(!chat.tools.empty()), rendered->text,
                                Random64());
  }
  if (!call->labels.empty()) {
    read.encode_behind = [&tokenizer, from = *rendered](std::string_view label) {
      std::vector<ByteRange> data = from.from_data;
      data.push_back({from.text.size(), from.text.size() + label.size()});
      return tokenizer.Encode(from.text + std::string(label), data);
    };
  }
  const int32_t end = tokenizer.TokenId(format->eos_token());
  if (end >= 0 && !call->stopping.ignore_eos) call->stopping.stop_token_ids.push_back(end);
  call->prompt = std::move(rendered->text);
  return read;
}

ReadText ReadPlain(const Tokenizer& tokenizer, const GenerateCall& call) {
  ReadText read;
  const auto& text = std::get<std::string>(call.prompt);
  read.ids = tokenizer.Encode(text, !call.no_special, call.parse_special);
  if (call.labels.empty()) return read;
  read.encode_behind = [&tokenizer, &call, text](std::string_view label) {
    return tokenizer.Encode(text + std::string(label), !call.no_special, call.parse_special);
  };
  return read;
}

OrRefusal<ReadText> ReadPrompt(const Rooms& rooms, const std::vector<AdapterHandle>& handles,
                               const Tokenizer& tokenizer, GenerateCall* call) {
  if (auto* ids = std::get_if<std::vector<int32_t>>(&call->prompt)) return ReadText{*ids};
  const bool chat = std::holds_alternative<ChatPrompt>(call->prompt);
  OrRefusal<ReadText> read = chat ? ReadChat(rooms, handles, tokenizer, call) : ReadPlain(tokenizer, *call);
  if (!read.ok()) return read;
  const char* field = chat ? "messages" : "text";
  const size_t tokens = (*read).ids.size();
  if (tokens == 0) return Invalid(BadFields({{field, "has no tokens"}}));
  if (tokens < static_cast<size_t>(rooms.limits.max_context)) return read;
  return Invalid(BeyondContext(field, tokens, rooms.limits.max_context));
}

// What holds the answer to the form that the call asks for; null where it asks for none.
OrRefusal<std::shared_ptr<AnswerGrammar>> CompileForm(const Rooms& rooms, const GenerateCall& call,
                                                      const std::string& tenant) {
  if (!call.form) return std::shared_ptr<AnswerGrammar>();
  if (rooms.forms == nullptr) {
    return Refusal{
        .status = WithReason(FailedPrecondition("this server cannot hold answers to a form: it lacks "
                                                "xgrammar's library, which deploy/get-grammar fetches"),
                             "NO_STRUCTURED_OUTPUT"),
        .metric = "no_structured_output"};
  }
  absl::StatusOr<std::shared_ptr<AnswerGrammar>> compiled = rooms.forms->Compile(tenant, *call.form);
  if (compiled.ok()) return *std::move(compiled);
  const absl::Status& why = compiled.status();
  if (absl::IsInvalidArgument(why)) return Invalid(BadFields({{"form", std::string(why.message())}}));
  if (!absl::IsResourceExhausted(why)) return Refusal{.status = why, .metric = "form_failed"};
  return Refusal{.status = WithRetry(WithReason(why, "TOO_MANY_FORMS"), std::chrono::seconds(1)),
                 .metric = "too_many_forms"};
}

float WeightAt(const GenerateCall& call, size_t i) {
  return i < call.adapters.size() ? call.adapters[i].weight.value_or(1) : 1;
}

void SetAdapters(const GenerateCall& call, std::vector<AdapterHandle> handles, Request* request) {
  request->adapter_top_k = call.adapter_top_k.value_or(0);
  request->adapter = std::move(handles.front());
  request->adapter_weight = WeightAt(call, 0);
  for (size_t i = 1; i < handles.size(); ++i)
    request->composed.push_back({std::move(handles[i]), WeightAt(call, i)});
}

// The text behind the prompt, and the echo before it.
void SetTexts(const Tokenizer& tokenizer, GenerateCall* call, Prepared* prepared) {
  Request& request = prepared->request;
  std::string& echo = prepared->head.echo;
  auto* text = std::get_if<std::string>(&call->prompt);
  request.behind_prompt.emplace(tokenizer, request.output.skip_special_tokens, request.prompt,
                                call->output.echo && text == nullptr ? &echo : nullptr,
                                request.output.kept_tokens);
  if (call->output.echo && text != nullptr) echo = std::move(*text);
}

absl::Status SetLabels(const Rooms& rooms, const Tokenizer& tokenizer, const std::vector<std::string>& labels,
                       const EncodeBehind& behind, Prepared* prepared) {
  Request& request = prepared->request;
  if (request.tokens != nullptr && request.tokens->vocab > request.tokens->base_vocab) {
    return BadFields({{"labels", fmt::format("cannot be scored: adapter '{}' brings tokens of its own",
                                             request.adapter.name())}});
  }
  ASSIGN_OR_RETURN(auto tokens, LabelTokens(tokenizer, request.prompt, labels, behind));
  for (const auto& label : tokens) prepared->head.label_tokens.push_back(static_cast<int>(label.size()));
  return SayLabels(std::move(tokens), rooms.limits.vocab_size, rooms.limits.max_context, &request);
}

void SetHead(const GenerateCall& call, const Request& request, AnswerHead* out) {
  AnswerHead& head = *out;
  head.prompt_tokens = static_cast<int>(request.prompt.size());
  head.first_token = request.prompt.front();
  head.adapter = call.adapter;
  for (size_t i = 0; i < call.adapters.size(); ++i)
    head.adapters.push_back({call.adapters[i].name, WeightAt(call, i)});
  head.choices = request.n;
  head.token_ids = call.output.token_ids;
  head.tokens = request.tokens;
}

}  // namespace

SamplingParams ParamsOf(const SamplingFields& f) {
  SamplingParams out;
  out.temperature = f.temperature.value_or(out.temperature);
  out.top_p = f.top_p.value_or(out.top_p);
  out.top_k = f.top_k.value_or(out.top_k);
  out.min_p = f.min_p.value_or(out.min_p);
  out.repetition_penalty = f.repetition_penalty.value_or(out.repetition_penalty);
  out.presence_penalty = f.presence_penalty.value_or(out.presence_penalty);
  out.frequency_penalty = f.frequency_penalty.value_or(out.frequency_penalty);
  out.logit_bias = f.logit_bias;
  return out;
}

OutputOptions OptionsOf(const OutputFields& f) {
  OutputOptions out;
  out.top_logprobs = f.logprobs.value_or(out.top_logprobs);
  out.prompt_logprobs = f.prompt_logprobs.value_or(out.prompt_logprobs);
  out.skip_special_tokens = !f.keep_special_tokens;
  out.routing = f.routing;
  return out;
}

Stopping StoppingOf(StoppingFields f) {
  Stopping out;
  out.max_tokens = f.max_tokens.value_or(kDefaultMaxTokens);
  out.min_tokens = f.min_tokens.value_or(0);
  out.stop = std::move(f.stop);
  out.stop_ids = std::move(f.stop_token_ids);
  out.ignore_eos = f.ignore_eos;
  return out;
}

OrRefusal<Prepared> MakeRequest(const Rooms& rooms, GenerateCall call, const EnteredCall& from) {
  if (absl::Status valid = ValidateFor(rooms, call, from.asker.tenant); !valid.ok())
    return Invalid(std::move(valid));
  const Names names = AdaptersOf(call);
  const std::string& tenant = from.asker.tenant;
  if (auto refusal = Forbidden(rooms.admission, tenant, names)) return *std::move(refusal);
  Prepared prepared;
  Request& request = prepared.request;
  request.arrival = rooms.clock.Now();
  OrRefusal<std::shared_ptr<AnswerGrammar>> form = CompileForm(rooms, call, tenant);
  if (!form.ok()) return std::move(form.refusal());
  request.form = *std::move(form);
  OrRefusal<std::vector<AdapterHandle>> handles = Hold(rooms.adapters, names, tenant);
  if (!handles.ok()) return std::move(handles.refusal());
  if ((*handles).size() == 1) request.tokens = (*handles).front().tokens();
  const Tokenizer& tokenizer = TokenizerOf(rooms, request.tokens.get());
  OrRefusal<ReadText> read = ReadPrompt(rooms, *handles, tokenizer, &call);
  if (!read.ok()) return std::move(read.refusal());
  request.prompt = std::move((*read).ids);
  SetAdapters(call, std::move(*handles), &request);
  request.deadline = from.caller.deadline;
  request.tenant = tenant;
  request.weight = from.asker.weight;
  request.cache_group = from.asker.cache_group;
  request.expert = call.expert;
  request.decision = call.decision;
  request.sampling = ParamsOf(call.sampling);
  request.seed = call.sampling.seed ? *call.sampling.seed : Random64();
  request.n = call.sampling.n.value_or(1);
  request.output = OptionsOf(call.output);
  const std::optional<AnswerParser::Options>& answer = (*read).answer;
  if (answer) request.output.kept_tokens = MarkerTokens(tokenizer, *answer);
  request.stopping = StoppingOf(std::move(call.stopping));
  if (!call.labels.empty()) {
    const absl::Status said = SetLabels(rooms, tokenizer, call.labels, (*read).encode_behind, &prepared);
    if (!said.ok()) return Invalid(said);
  }
  SetHead(call, request, &prepared.head);
  prepared.head.answer = answer;
  SetTexts(tokenizer, &call, &prepared);
  return prepared;
}

}  // namespace hydrad
