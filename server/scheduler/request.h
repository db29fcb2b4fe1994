// A request as the scheduler takes it: validated, admitted, tokenised.
#ifndef HYDRAD_SERVER_SCHEDULER_REQUEST_H_
#define HYDRAD_SERVER_SCHEDULER_REQUEST_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/sampling.h"
#include "server/adapters/handle.h"
#include "server/admission/admission.h"
#include "server/base/clock.h"
#include "server/scheduler/token_sink.h"

namespace hydrad {

using RequestId = uint64_t;  // made by the server, never a client's

// When a sequence ends. The end tokens of the model count unless ignore_eos.
struct Stopping {
  int max_tokens = 16;            // generated tokens, at least 1
  int min_tokens = 0;             // end tokens and stop ids are banned before this many; stop strings ignored
  std::vector<std::string> stop;  // ends when the text contains one; it is not part of the text
  std::vector<int32_t> stop_ids;  // ends when one is drawn; the token is reported, its text is not
  bool ignore_eos = false;
};

struct OutputOptions {
  int top_logprobs = -1;     // -1: no log-probabilities; k: the drawn token's and the k most likely
  int prompt_logprobs = -1;  // likewise for prompt tokens 1..
  bool skip_special_tokens = true;
};

struct Request {
  RequestId id = 0;
  std::vector<int32_t> prompt;  // at least one token
  SamplingParams sampling;
  Stopping stopping;
  OutputOptions output;
  uint64_t seed = 0;      // choice i draws with seed + i
  int n = 1;              // sequences
  AdapterHandle adapter;  // empty: the base model
  Ticket ticket;
  TimePoint arrival{};
  std::optional<TimePoint> deadline;
  std::shared_ptr<TokenSink> sink;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_REQUEST_H_
