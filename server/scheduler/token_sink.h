// Where a request's tokens go, and what goes there: plain values, which the sink owns once it has them.
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

// Why a choice has ended.
enum class FinishReason : uint8_t {
  kStop,        // an end token of the model was drawn
  kStopString,  // its text contains one of Stopping::stop
  kStopToken,   // one of Stopping::stop_ids was drawn
  kLength,      // it has max_tokens, which the context may have cut
};
// Returns "length" for kLength and "stop" for the others: the words of the protocols.
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
  std::string stop;  // the stop string that matched; "" for other reasons
};

// Which expert an adapter that holds several was used with, by name.
struct RouteTaken {
  Decision decision = Decision::kLabel;
  std::string expert;              // of all layers; "" where each has its own (kLayer)
  std::vector<std::string> votes;  // by layer, what its router picked; empty for kLabel
};

// What is known before the first token, of the request as a whole.
struct OutputStart {
  std::vector<Sampled> prompt_logprobs{};  // of prompt tokens 1.. when they were asked for
  std::vector<uint64_t> generations{};     // of the request's adapters; 0: the base model
  bool approximate = false;                // it keeps fewer experts than its adapters were trained with
  std::optional<RouteTaken> route{};       // of an adapter that holds several experts
};

// What a request used, known when it ends. Prompt tokens are counted once, however many choices there are;
// generated ones over all choices. A phase that the request did not reach took 0.
struct Usage {
  int prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  // From its arrival to its start, from there to the first token of any choice, from there to its end.
  Duration queue{}, prefill{}, decode{};
  bool approximate = false;             // as OutputStart's
  std::vector<AdapterRouting> routing;  // of each routed adapter, when it was asked for
};

// The scheduler thread calls these and must not wait, so an implementation only queues. OnStart is called
// once, when the first token of any choice is there, then OnPiece any number of times, choices in any order,
// and OnDone once. OnDone always comes, also where OnStart has not (an error, a cancel), and nothing after
// it. What the request held (blocks, adapter, place in the queue) is free by then. May be destroyed on any
// thread.
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  virtual void OnStart(OutputStart start) = 0;
  // Takes the next piece of a choice. Returns false where the reader has stalled past its bound; the request
  // is then ended with CANCELLED.
  virtual bool OnPiece(OutputPiece piece) = 0;
  // The status is OK when every choice has finished, and else says why the request ended: CANCELLED,
  // DEADLINE_EXCEEDED, UNAVAILABLE (the daemon drains), DATA_LOSS (the model gave NaN), or the status of a
  // step that failed or of an adapter that cannot be had.
  virtual void OnDone(absl::Status status, const Usage& usage) = 0;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_TOKEN_SINK_H_
