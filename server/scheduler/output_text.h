// Turns one choice's drawn tokens into pieces of text and tokens that belong together.
#ifndef HYDRAD_SERVER_SCHEDULER_OUTPUT_TEXT_H_
#define HYDRAD_SERVER_SCHEDULER_OUTPUT_TEXT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "server/model/tokenizer.h"
#include "server/scheduler/request.h"
#include "server/scheduler/stop_matcher.h"

namespace hydrad {

// Text leaves as soon as it can no longer change: never inside a UTF-8 sequence, never the beginning of a
// stop string. A token leaves once the text it brought is out, so a token never precedes its text.
// Single-threaded; the tokenizer must outlive it.
class OutputText {
 public:
  OutputText(const Tokenizer& tokenizer, const Stopping& stopping, const OutputOptions& output);

  // A drawn token. `scan`: look for stop strings in its text. True if one was found: the text ends before it.
  bool Add(Sampled drawn, bool scan);
  // A drawn token that ends the choice and whose text is not shown.
  void AddSilent(Sampled drawn);

  // What has become certain since the last piece; its text and tokens may both be empty.
  OutputPiece Take();
  // The last piece, with everything that was held back.
  OutputPiece Finish(FinishReason reason);

 private:
  struct Held {
    Sampled drawn;
    uint64_t text_end;  // bytes of text after which the token may leave
  };
  void Append(std::string_view text, bool scan);
  bool HoldsBytesOf(int32_t token, std::string_view text) const;

  const Tokenizer& tokenizer_;
  const bool skip_special_;
  const bool logprobs_;
  Detokenizer detokenizer_;
  StopMatcher matcher_;
  std::string ready_;       // text that may leave
  std::vector<Held> held_;  // tokens that have not left, in order
  uint64_t added_ = 0;      // bytes of text so far, with what is held back
  uint64_t released_ = 0;   // of them, those that have gone into ready_
  std::string_view match_;  // the stop string found
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_OUTPUT_TEXT_H_
