// Where a request's tokens go.
#ifndef HYDRAD_SERVER_SCHEDULER_TOKEN_SINK_H_
#define HYDRAD_SERVER_SCHEDULER_TOKEN_SINK_H_

#include <absl/status/status.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/sampling.h"
#include "server/backend/expert_router.h"
#include "server/base/clock.h"
#include "server/scheduler/router_tally.h"

namespace hydrad {

enum class FinishReason : uint8_t { kStop, kStopString, kStopToken, kLength };
// "stop" for the first three, "length".
const char* Name(FinishReason reason);

// A piece of one choice's output. Tokens whose text is held back (an incomplete UTF-8 sequence, the possible
// start of a stop string) come in a later piece together with it, so tokens and text always belong together.
struct OutputPiece {
  int choice = 0;
  std::string text;
  std::vector<int32_t> tokens;
  std::vector<Sampled> logprobs;  // one per token when asked for
  bool finished = false;          // the choice's last piece
  FinishReason reason = FinishReason::kLength;
  std::string stop;  // the stop string that matched
};

// Which expert an adapter that holds several was used with, by name.
struct RouteTaken {
  Decision decision = Decision::kLabel;
  std::string expert;              // of all layers; "" where each has its own (kLayer)
  std::vector<std::string> votes;  // by layer, what its router picked; empty for kLabel
};

// What is known before the first token.
struct OutputStart {
  std::vector<Sampled> prompt_logprobs{};  // of prompt tokens 1.. when they were asked for
  std::vector<uint64_t> generations{};     // of the request's adapters; 0: the base model
  bool approximate = false;                // it keeps fewer experts than its adapters were trained with
  std::optional<RouteTaken> route{};       // of an adapter that holds several experts
};

// What a request used, known when it ends.
struct Usage {
  int prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  Duration queue{}, prefill{}, decode{};
  bool approximate = false;             // as OutputStart's
  std::vector<AdapterRouting> routing;  // of each routed adapter, when it was asked for
};

// The scheduler thread calls these and must not wait, so an implementation only queues. Order: OnStart once,
// when the first token of any choice is there; OnPiece any number of times; OnDone once, always, also without
// OnStart (an error, a cancel). After OnDone nothing more is called. May be destroyed on any thread.
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  virtual void OnStart(OutputStart start) = 0;
  // False: the reader has stalled past its bound, and the request is to be cancelled.
  virtual bool OnPiece(OutputPiece piece) = 0;
  // OK when every choice finished; CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE (shutdown), DATA_LOSS (NaN), ...
  virtual void OnDone(absl::Status status, const Usage& usage) = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_TOKEN_SINK_H_
