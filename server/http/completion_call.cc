#include "server/http/completion_call.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "server/backend/expert_router.h"  // ParseDecision
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/front/error_details.h"  // WithReason
#include "server/http/form_call.h"

namespace hydrad {
namespace {

void ReadLogitBias(BodyReader& reader, SamplingFields* sampling) {
  const Json* bias = reader.Object("logit_bias");
  if (bias == nullptr) return;
  for (auto entry = bias->begin(); entry != bias->end(); ++entry) {
    const std::string& key = entry.key();
    int32_t token = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (error != std::errc() || end != key.data() + key.size() || !entry.value().is_number()) {
      return reader.Fail("logit_bias", fmt::format("must map ids of tokens to numbers: '{}' does not", key));
    }
    sampling->logit_bias.push_back({token, entry.value().get<float>()});
  }
}

void ReadAdapters(BodyReader& own, GenerateCall* call) {
  const Json* adapters = own.Value("adapters");
  if (adapters == nullptr) return;
  if (!adapters->is_array()) return own.Fail("adapters", "must be a list");
  for (const Json& entry : *adapters) {
    AdapterWeight& adapter = call->adapters.emplace_back();
    if (entry.is_string()) {
      adapter.name = entry.get<std::string>();
      continue;
    }
    if (!entry.is_object()) return own.Fail("adapters", R"(must hold names, or objects {"name", "weight"})");
    BodyReader reader(entry, "hydrad.adapters.");
    adapter.name = reader.Text("name").value_or("");
    adapter.weight = reader.Number("weight");
    if (!reader.Finish().ok()) own.Fail("adapters", R"(must hold names, or objects {"name", "weight"})");
  }
}

void ReadOwn(BodyReader& reader, GenerateCall* call, AnswerWishes* wishes) {
  const Json* object = reader.Object("hydrad");
  if (object == nullptr) return;
  wishes->hydrad = true;
  BodyReader own(*object, "hydrad.");
  ReadAdapters(own, call);
  call->adapter_top_k = own.Integer("adapter_top_k");
  call->expert = own.Text("expert").value_or("");
  if (const auto name = own.Text("decision")) {
    call->decision = ParseDecision(*name);
    if (!call->decision) own.Fail("decision", "must be 'label', 'last', 'vote' or 'layer'");
  }
  call->output.routing = own.Bool("routing").value_or(false);
  reader.Finish(own);
}

void ReadSampling(BodyReader& reader, SamplingFields* sampling) {
  sampling->temperature = reader.Number("temperature");
  sampling->top_p = reader.Number("top_p");
  sampling->top_k = reader.Integer("top_k");
  if (sampling->top_k == -1) sampling->top_k = 0;  // how other servers are told that there is none
  sampling->min_p = reader.Number("min_p");
  sampling->repetition_penalty = reader.Number("repetition_penalty");
  sampling->presence_penalty = reader.Number("presence_penalty");
  sampling->frequency_penalty = reader.Number("frequency_penalty");
  if (const auto seed = reader.Long("seed")) sampling->seed = static_cast<uint64_t>(*seed);
  sampling->n = reader.Integer("n");
  ReadLogitBias(reader, sampling);
}

void ReadStopping(BodyReader& reader, StoppingFields* stopping) {
  stopping->min_tokens = reader.Integer("min_tokens");
  stopping->stop = reader.Texts("stop");
  stopping->stop_token_ids = reader.Ids("stop_token_ids");
  stopping->ignore_eos = reader.Bool("ignore_eos").value_or(false);
}

void ReadStream(BodyReader& reader, AnswerWishes* wishes) {
  wishes->stream = reader.Bool("stream").value_or(false);
  const Json* options = reader.Object("stream_options");
  if (options == nullptr) return;
  if (!wishes->stream) return reader.Fail("stream_options", "is for a stream");
  BodyReader inner(*options, "stream_options.");
  wishes->include_usage = inner.Bool("include_usage").value_or(false);
  inner.Ignore({"include_obfuscation"});
  reader.Finish(inner);
}

}  // namespace

absl::StatusOr<Json> ReadBody(std::string_view body) {
  absl::StatusOr<Json> json = ParseJson(body);
  if (!json.ok()) {
    return WithReason(Annotate(json.status(), "the request's body"), "MALFORMED_MESSAGE");
  }
  if (json->is_object()) return json;
  return WithReason(InvalidArgument("the request's body must be a JSON object"), "MALFORMED_MESSAGE");
}

Prompts ReadPrompts(BodyReader& reader) {
  const Json* value = reader.Value("prompt");
  Prompts prompts;
  std::vector<int32_t> ids;
  if (value == nullptr) {
    reader.Fail("prompt", "must be set: a text or ids of tokens, or a list of either");
  } else if (value->is_string()) {
    prompts.emplace_back(value->get<std::string>());
  } else if (value->is_array() && !value->empty() && value->front().is_number()) {
    if (ReadIds(*value, &ids)) prompts.emplace_back(std::move(ids));
  } else if (value->is_array() && value->size() <= kMaxPrompts) {
    for (const Json& prompt : *value) {
      ids.clear();
      if (prompt.is_string()) {
        prompts.emplace_back(prompt.get<std::string>());
      } else if (ReadIds(prompt, &ids)) {
        prompts.emplace_back(std::exchange(ids, {}));
      } else {
        prompts.clear();
        break;
      }
    }
  } else if (value->is_array()) {
    reader.Fail("prompt", fmt::format("has {} prompts: at most {} are taken", value->size(), kMaxPrompts));
  }
  if (prompts.empty()) reader.Fail("prompt", "must be a text or ids of tokens, or a list of either");
  return prompts;
}

void ReadModel(const std::string& base_model, BodyReader& reader, GenerateCall* call, AnswerWishes* wishes) {
  wishes->model = reader.Text("model").value_or(base_model);
  if (wishes->model != base_model) call->adapter = wishes->model;
  if (wishes->model.empty()) reader.Fail("model", "must not be empty");
  ReadOwn(reader, call, wishes);
  // For whoever bills, stores or schedules; nothing of the answer depends on them.
  reader.Ignore({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
                 "prompt_cache_retention"});
}

void ReadShared(const std::string& base_model, BodyReader& reader, GenerateCall* call, AnswerWishes* wishes) {
  ReadModel(base_model, reader, call, wishes);
  ReadSampling(reader, &call->sampling);
  ReadStopping(reader, &call->stopping);
  ReadStream(reader, wishes);
  ReadForm(reader, call, &wishes->form_name);
}

absl::StatusOr<CompletionCall> ReadCompletionCall(std::string_view body, const std::string& base_model) {
  ASSIGN_OR_RETURN(const Json json, ReadBody(body));
  BodyReader reader(json);
  CompletionCall out;
  GenerateCall call;
  ReadShared(base_model, reader, &call, &out.wishes);
  call.stopping.max_tokens = reader.Integer("max_tokens").value_or(kCompletionMaxTokens);
  call.output.echo = reader.Bool("echo").value_or(false);
  call.output.logprobs = reader.Integer("logprobs");
  if (call.output.echo) call.output.prompt_logprobs = call.output.logprobs;
  // The best of several is the answer itself where there are no more than are wanted.
  const int best_of = reader.Integer("best_of").value_or(1);
  if (best_of != 1 && best_of != call.sampling.n.value_or(1)) reader.Fail("best_of", "must be equal to n");
  if (reader.Text("suffix").value_or("") != "") reader.Fail("suffix", "is not supported");
  Prompts prompts = ReadPrompts(reader);
  RETURN_IF_ERROR(reader.Finish());
  for (auto& prompt : prompts) {
    GenerateCall& one = out.calls.emplace_back(call);
    one.prompt = std::move(prompt);
  }
  return out;
}

}  // namespace hydrad
