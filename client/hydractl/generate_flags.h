// What `generate` and `chat` have in common: their options, and how they print what comes.
#ifndef HYDRAD_CLIENT_HYDRACTL_GENERATE_FLAGS_H_
#define HYDRAD_CLIENT_HYDRACTL_GENERATE_FLAGS_H_

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "client/hydractl/session.h"
#include "hydrad/v1/inference.pb.h"

namespace hydrad {

// All that a request has beside its prompt.
struct GenerateFlags {
  std::string adapter, expert, decision;
  std::vector<std::string> compose;  // NAME or NAME=WEIGHT
  std::optional<int> adapter_top_k;
  CallFlags call;
  std::optional<float> temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<int> top_k, n, max_tokens, min_tokens, logprobs;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  // The form that the answer must have, at most one: the text of a schema or a grammar, a regex, texts, any.
  std::optional<std::string> json_schema, grammar, regex;
  std::vector<std::string> choices;
  bool json_object = false;
  bool ignore_eos = false, echo = false, json_stream = false, routing = false;
};

// Adds the options in groups: adapters and the call's own, sampling, stopping, form, output. `flags` and
// `session` must outlive `app`.
void AddGenerateFlags(CLI::App& app, GenerateFlags& flags, Session& session);

// Puts what was given into a request; all that was not, max_tokens apart, stays unset. `json`: token ids are
// wanted, too.
void SetFields(const GenerateFlags& flags, bool json, v1::GenerateRequest* request);
void SetFields(const GenerateFlags& flags, bool json, v1::ChatRequest* request);

// Prints what comes in the manner that the flags ask for: the text of one choice, or a line of JSON for each
// event, as it comes; anything else when it is done. What the model thinks before it answers goes to `err`
// where the text goes to `out`.
class AnswerPrinter {
 public:
  AnswerPrinter(bool json, const GenerateFlags& flags, std::ostream& out, std::ostream& err);

  void OnMessage(const v1::GenerateResponse& message);
  void Finish(bool ok);

  // All that has come.
  const v1::GenerateResult& result() const { return result_; }

 private:
  void EndThought();

  const bool json_, json_stream_, streams_;
  std::ostream &out_, &err_;
  bool at_line_start_ = true;
  bool thinks_ = false;  // the last text was of what the model thinks
  v1::GenerateResult result_;
};

}  // namespace hydrad

#endif  // HYDRAD_CLIENT_HYDRACTL_GENERATE_FLAGS_H_
