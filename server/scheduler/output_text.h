// Turns one choice's drawn tokens into pieces of text and tokens that belong together.
#ifndef HYDRAD_SERVER_SCHEDULER_OUTPUT_TEXT_H_
#define HYDRAD_SERVER_SCHEDULER_OUTPUT_TEXT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "server/scheduler/request.h"
#include "server/text/stop_matcher.h"
#include "server/text/tokenizer.h"

namespace hydrad {

// Text leaves as soon as it can no longer change: a character with its last byte, never inside one, never the
// beginning of a stop string. A token leaves once the text it brought is out, so a token never precedes its
// text. Single-threaded.
class OutputText {
 public:
  // `behind_prompt` has been given nothing but the prompt.
  OutputText(Detokenizer behind_prompt, const Stopping& stopping, const OutputOptions& output);

  // Adds a drawn token, and with `scan` looks for stop strings in its text. Returns whether one was found:
  // the text ends before it.
  bool Add(Sampled drawn, bool scan);
  // Adds a drawn token that ends the choice and whose text is not shown.
  void AddSilent(Sampled drawn);

  // Returns what has become certain since the last piece; its text and tokens may both be empty.
  OutputPiece Take();
  // Returns the last piece, with everything that was held back. A stop string that only the end brings to
  // light is the reason then.
  OutputPiece Finish(FinishReason reason);

 private:
  struct Held {
    Sampled drawn;
    uint64_t text_end;  // bytes of text after which the token may leave
  };
  void Append(std::string_view text, bool scan);

  const bool logprobs_;
  Detokenizer detokenizer_;
  StopMatcher matcher_;
  std::string ready_;       // text that may leave
  std::vector<Held> held_;  // tokens that have not left, in order
  uint64_t added_ = 0;      // bytes of text so far, with what is held back
  uint64_t released_ = 0;   // of them, those that have gone into ready_
  bool scan_ = false;       // of the last token
  std::string_view match_;  // the stop string found
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_OUTPUT_TEXT_H_
