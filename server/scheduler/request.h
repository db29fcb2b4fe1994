// A request as the scheduler takes it: validated, admitted, tokenised.
#ifndef HYDRAD_SERVER_SCHEDULER_REQUEST_H_
#define HYDRAD_SERVER_SCHEDULER_REQUEST_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/sampling.h"
#include "server/adapters/adapter_tokens.h"
#include "server/adapters/handle.h"
#include "server/base/clock.h"
#include "server/scheduler/token_sink.h"
#include "server/text/answer_form.h"
#include "server/text/tokenizer.h"

namespace hydrad {

using RequestId = uint64_t;  // made by the server, never a client's

// When a sequence ends. The end tokens of the model count unless ignore_eos.
struct Stopping {
  int max_tokens = 16;            // generated tokens, at least 1
  int min_tokens = 0;             // end tokens and stop ids are banned before this many; stop strings ignored
  std::vector<std::string> stop;  // ends when the text contains one; it is not part of the text
  std::vector<int32_t> stop_ids;  // ends when one is drawn; the token is reported, its text is not
  // With a form, end tokens are then drawn only where nothing else may follow, and end the sequence.
  bool ignore_eos = false;
};

// What the client is told beside the text.
struct OutputOptions {
  int top_logprobs = -1;     // -1: no log-probabilities; k: the drawn token's and the k most likely
  int prompt_logprobs = -1;  // likewise for prompt tokens 1..
  bool skip_special_tokens = true;
  std::vector<int32_t> kept_tokens{};  // which stay in the text although they are special
  bool routing = false;                // tell at the end how the adapters' routers weighed their experts
};

// One adapter of a composition.
struct WeightedAdapter {
  AdapterHandle handle;
  float weight = 1;
};

// The request owns what it holds: adapters, form and sink go back, or are let go of, with it. It is moved
// from the front end's thread to the scheduler's and never shared.
struct Request {
  RequestId id = 0;
  std::vector<int32_t> prompt;  // at least one token
  // What its tokens mean, where the adapter brings some; null: what the base's do.
  std::shared_ptr<const AdapterTokens> tokens;
  // Where each choice's text goes on: has read the prompt, which takes long for a long one and so is better
  // done before the scheduler's thread has the request. Empty: it is done there.
  std::optional<Detokenizer> behind_prompt;
  SamplingParams sampling;
  Stopping stopping;
  OutputOptions output;
  std::shared_ptr<AnswerGrammar> form;  // that every choice's answer has; null: any
  uint64_t seed = 0;                    // choice i draws with seed + i
  int n = 1;                            // sequences
  AdapterHandle adapter;                // empty: the base model
  float adapter_weight = 1;
  std::vector<WeightedAdapter> composed;  // adapters whose changes are added to that of `adapter`
  int adapter_top_k = 0;                  // experts that routed adapters keep; 0: as they say
  // Of an adapter that holds several experts (AdapterHandle::mixture): the one to use, and else who chooses
  // it. Neither: as the adapter says.
  std::string expert;
  std::optional<Decision> decision;
  std::string tenant;  // who asks, and its share under load
  double weight = 1;
  std::string cache_group;  // requests of equal groups may use each other's K/V; no zero byte in it
  TimePoint arrival{};
  std::optional<TimePoint> deadline;
  std::shared_ptr<TokenSink> sink;
  bool self_test = false;  // the daemon's own (self_test.h): in no metric or cache, and refused for no queue

  // All adapters, `adapter` first; of the base model there is one, empty.
  size_t adapters() const { return 1 + composed.size(); }
  const AdapterHandle& adapter_at(size_t i) const { return i == 0 ? adapter : composed[i - 1].handle; }
  AdapterHandle& adapter_at(size_t i) { return i == 0 ? adapter : composed[i - 1].handle; }
  float weight_at(size_t i) const { return i == 0 ? adapter_weight : composed[i - 1].weight; }

  // Binds every adapter, or none: a request that waits for one holds no other. False: one is not there.
  bool BindAdapters();
  bool bound() const;
  absl::Status adapter_status() const;  // OK, or why the request must end
};

// Whether the adapters may be used as the request says; INVALID_ARGUMENT, naming the adapter, where they may
// not, and UNAVAILABLE where the prompt has tokens that the adapter had when it was read. REQUIRES: bound; so
// of the next.
absl::Status CheckAdapterUse(const Request& request);
// Whether adapter_top_k makes less of an adapter than it was trained to be.
bool Approximates(const Request& request);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_REQUEST_H_
