#include "client/hydractl/generate_flags.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <utility>

#include "client/gather.h"
#include "client/hydractl/json_output.h"

namespace hydrad {
namespace {

// Somebody who tries a prompt does not want a page; a program says what it wants.
constexpr int kMaxTokens = 256;

// Accepts NAME and NAME=NUMBER.
CLI::Validator WeightIsANumber() {
  return CLI::Validator(
      [](std::string& text) {
        const size_t equals = text.find('=');
        if (equals == std::string::npos) return std::string();
        float weight = 0;
        const char* end = text.data() + text.size();
        const auto read = std::from_chars(text.data() + equals + 1, end, weight);
        const bool number = read.ec == std::errc() && read.ptr == end;
        return number ? std::string() : "the weight in " + text + " is not a number";
      },
      "");
}

void AddAdapterFlags(CLI::App& app, GenerateFlags& f) {
  auto* adapter =
      app.add_option("--adapter", f.adapter, "A loaded adapter; none: the base model")->type_name("NAME");
  app.add_option("--compose", f.compose,
                 "An adapter and its weight (1), added to the others; may be repeated")
      ->type_name("NAME[=WEIGHT]")
      ->allow_extra_args(false)
      ->check(WeightIsANumber())
      ->excludes(adapter);
  app.add_option("--adapter-top-k", f.adapter_top_k,
                 "Keep the K experts that weigh most of a routed adapter, for every token")
      ->type_name("K");
  app.add_option("--expert", f.expert, "Of an MoA adapter: the expert to use")->type_name("NAME");
  app.add_option(
         "--decision", f.decision,
         "Of an MoA adapter: who chooses the expert (label, last, vote, layer); the adapter says if not "
         "given")
      ->check(CLI::IsMember({"label", "last", "vote", "layer"}));
}

void AddSamplingFlags(CLI::App& app, GenerateFlags& f) {
  const std::string group = "Sampling";
  app.add_option("--temperature", f.temperature, "0: always the most likely token")->group(group);
  app.add_option("--top-p", f.top_p, "Sample from the most likely tokens that have this probability together")
      ->group(group);
  app.add_option("--top-k", f.top_k, "Sample from the K most likely tokens; 0: off")->group(group);
  app.add_option("--min-p", f.min_p, "Drop tokens below this share of the best one's probability")
      ->group(group);
  app.add_option("--repetition-penalty", f.repetition_penalty, "Divide the logits of tokens seen; 1: off")
      ->group(group);
  app.add_option("--presence-penalty", f.presence_penalty, "Taken off the logits of tokens generated")
      ->group(group);
  app.add_option("--frequency-penalty", f.frequency_penalty, "Likewise, for each time")->group(group);
  app.add_option("--seed", f.seed, "The same seed and prompt give the same text")->group(group);
  app.add_option("--n", f.n, "Number of choices")->group(group);
}

void AddStoppingFlags(CLI::App& app, GenerateFlags& f) {
  const std::string group = "Stopping";
  app.add_option("--max-tokens", f.max_tokens,
                 fmt::format("Generate at most so many tokens; {} if not given", kMaxTokens))
      ->group(group);
  app.add_option("--min-tokens", f.min_tokens, "Do not stop before so many")->group(group);
  app.add_option("--stop", f.stop, "Stop before this text; may be repeated")
      ->group(group)
      ->type_name("TEXT")
      ->allow_extra_args(false);
  app.add_flag("--ignore-eos", f.ignore_eos, "Go on after the model's end token")->group(group);
}

// Puts what a file holds in the place of its name.
CLI::Validator TextOfFile() {
  return CLI::Validator(
      [](std::string& name) {
        std::ifstream file(name);
        std::string text{std::istreambuf_iterator<char>(file), {}};
        if (!file.is_open() || file.bad()) return name + ": cannot be read";
        name = std::move(text);
        return std::string();
      },
      "");
}

void AddFormFlags(CLI::App& app, GenerateFlags& f) {
  const std::string group = "Form of the answer (one of them; say in the prompt, too, what is wanted)";
  CLI::Option* const forms[] = {
      app.add_flag("--json-object", f.json_object, "A JSON object"),
      app.add_option("--json-schema", f.json_schema, "JSON of the schema in this file")
          ->type_name("FILE")
          ->transform(TextOfFile()),
      app.add_option("--regex", f.regex, "A text all of which matches")->type_name("REGEX"),
      app.add_option("--choice", f.choices, "This text, or another one; may be repeated")
          ->type_name("TEXT")
          ->allow_extra_args(false),
      app.add_option("--grammar", f.grammar, "What `root` of the GBNF grammar in this file derives")
          ->type_name("FILE")
          ->transform(TextOfFile())};
  for (CLI::Option* const form : forms) {
    form->group(group);
    for (CLI::Option* const other : forms) {
      if (other != form) form->excludes(other);
    }
  }
}

void AddOutputFlags(CLI::App& app, GenerateFlags& f, Session& session) {
  AddJsonFlag(app, session, "Print one JSON object when done: model, choices, usage, text, ...");
  app.add_flag("--json-stream", f.json_stream, "Print a line of JSON for each event, as it comes");
  app.add_option("--logprobs", f.logprobs,
                 "In the JSON: log-probability of each token and of the K most likely")
      ->type_name("K");
  app.add_flag("--routing", f.routing, "In the JSON: how the adapters' routers weighed their experts");
  app.add_flag("--echo", f.echo, "Repeat the prompt before the text");
}

v1::Decision DecisionOf(const std::string& name) {
  for (const v1::Decision decision :
       {v1::DECISION_LABEL, v1::DECISION_LAST, v1::DECISION_VOTE, v1::DECISION_LAYER}) {
    if (name == DecisionName(decision)) return decision;
  }
  return v1::DECISION_UNSPECIFIED;
}

v1::Sampling SamplingOf(const GenerateFlags& f) {
  v1::Sampling sampling;
  if (f.temperature) sampling.set_temperature(*f.temperature);
  if (f.top_p) sampling.set_top_p(*f.top_p);
  if (f.top_k) sampling.set_top_k(*f.top_k);
  if (f.min_p) sampling.set_min_p(*f.min_p);
  if (f.repetition_penalty) sampling.set_repetition_penalty(*f.repetition_penalty);
  if (f.presence_penalty) sampling.set_presence_penalty(*f.presence_penalty);
  if (f.frequency_penalty) sampling.set_frequency_penalty(*f.frequency_penalty);
  if (f.seed) sampling.set_seed(*f.seed);
  if (f.n) sampling.set_n(*f.n);
  return sampling;
}

v1::Stopping StoppingOf(const GenerateFlags& f) {
  v1::Stopping stopping;
  stopping.set_max_tokens(f.max_tokens.value_or(std::max(kMaxTokens, f.min_tokens.value_or(0))));
  if (f.min_tokens) stopping.set_min_tokens(*f.min_tokens);
  for (const std::string& stop : f.stop) stopping.add_stop(stop);
  stopping.set_ignore_eos(f.ignore_eos);
  return stopping;
}

v1::Output OutputOf(const GenerateFlags& f, bool json) {
  v1::Output output;
  output.set_token_ids(json);
  output.set_echo(f.echo);
  output.set_routing(f.routing);
  if (f.logprobs) output.set_logprobs(*f.logprobs);
  return output;
}

template <class Request>
void SetForm(const GenerateFlags& f, Request* request) {
  if (f.json_object) request->mutable_form()->set_json_object(true);
  if (f.json_schema) request->mutable_form()->set_json_schema(*f.json_schema);
  if (f.regex) request->mutable_form()->set_regex(*f.regex);
  if (f.grammar) request->mutable_form()->set_grammar(*f.grammar);
  for (const std::string& text : f.choices) request->mutable_form()->mutable_choice()->add_texts(text);
}

template <class Request>
void Set(const GenerateFlags& f, bool json, Request* request) {
  request->set_adapter(f.adapter);
  for (const std::string& composed : f.compose) {
    const size_t equals = composed.find('=');
    v1::WeightedAdapter* adapter = request->add_adapters();
    adapter->set_name(composed.substr(0, equals));
    if (equals != std::string::npos) adapter->set_weight(std::stof(composed.substr(equals + 1)));
  }
  if (f.adapter_top_k) request->set_adapter_top_k(*f.adapter_top_k);
  request->set_expert(f.expert);
  request->set_decision(DecisionOf(f.decision));
  *request->mutable_sampling() = SamplingOf(f);
  *request->mutable_stopping() = StoppingOf(f);
  *request->mutable_output() = OutputOf(f, json);
  SetForm(f, request);
}

}  // namespace

void AddGenerateFlags(CLI::App& app, GenerateFlags& flags, Session& session) {
  AddAdapterFlags(app, flags);
  AddTenantKeyFlag(app, flags.call);
  AddTimeoutFlag(app, flags.call);
  AddSamplingFlags(app, flags);
  AddStoppingFlags(app, flags);
  AddFormFlags(app, flags);
  AddOutputFlags(app, flags, session);
}

void SetFields(const GenerateFlags& flags, bool json, v1::GenerateRequest* request) {
  Set(flags, json, request);
}

void SetFields(const GenerateFlags& flags, bool json, v1::ChatRequest* request) { Set(flags, json, request); }

AnswerPrinter::AnswerPrinter(bool json, const GenerateFlags& flags, std::ostream& out, std::ostream& err)
    : json_(json),
      json_stream_(flags.json_stream),
      streams_(json_stream_ || (!json && flags.n.value_or(1) == 1)),
      out_(out),
      err_(err) {}

void AnswerPrinter::OnMessage(const v1::GenerateResponse& message) {
  Gather(message, result_);
  if (json_stream_) {
    out_ << Line(ToJson(message)) << std::endl;
    return;
  }
  if (!streams_) return;
  if (const std::string& thought = message.chunk().reasoning(); !thought.empty()) {
    thinks_ = true;
    err_ << thought << std::flush;
  }
  if (message.chunk().text().empty()) return;
  EndThought();
  at_line_start_ = message.chunk().text().ends_with('\n');
  out_ << message.chunk().text() << std::flush;
}

void AnswerPrinter::EndThought() {
  if (std::exchange(thinks_, false)) err_ << "\n\n" << std::flush;
}

void AnswerPrinter::Finish(bool ok) {
  EndThought();
  if (!at_line_start_) out_ << '\n';
  if (!ok || streams_) return;
  if (json_) {
    out_ << Line(ToJson(result_)) << '\n';
  } else {
    for (const v1::Chunk& choice : result_.choices())
      out_ << '[' << choice.choice() << "] " << choice.text() << '\n';
  }
}

}  // namespace hydrad
