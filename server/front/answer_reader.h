// What the assistant says in a conversation, piece by piece: reasoning, content and calls of functions.
#ifndef HYDRAD_SERVER_FRONT_ANSWER_READER_H_
#define HYDRAD_SERVER_FRONT_ANSWER_READER_H_

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "server/front/chat_call.h"
#include "server/scheduler/token_sink.h"
#include "server/text/answer_parser.h"
#include "server/text/tokenizer.h"

namespace hydrad {

// How the answer to `chat` is to be taken apart. Calls are looked for where the conversation has tools, in
// the format that the operator chose, else in the one that the template's source tells; reasoning always is.
// `prompt` is what the template made. `id_seed` is another for each request.
AnswerParser::Options AnswerOptions(const ChatPrompt& chat, std::optional<ToolFormat> chosen,
                                    std::string_view chat_template, std::string_view prompt,
                                    uint64_t id_seed);

// The tokens of the markers that `options` look for, which must stay in the text though they may be special.
std::vector<int32_t> MarkerTokens(const Tokenizer& tokenizer, const AnswerParser::Options& options);

// Reads the pieces of all choices of one request. One thread at a time.
class AnswerReader {
 public:
  AnswerReader(const AnswerParser::Options& options, int choices);

  // What has become certain with the piece, in order; no markup. With a choice's last piece all of it is. A
  // call's events are: it begins, arguments (none, one or more), it ends.
  std::vector<AnswerEvent> Read(const OutputPiece& piece);

  // Whether the choice has stopped in order that its calls be answered. REQUIRES: `last` is the choice's last
  // piece, and has been read; so of the next.
  bool StopsForCalls(const OutputPiece& last) const;
  // "tool_calls" if so, else Name of the reason.
  std::string_view FinishReasonOf(const OutputPiece& last) const {
    return StopsForCalls(last) ? "tool_calls" : Name(last.reason);
  }

 private:
  std::vector<AnswerParser> parsers_;  // [choices]
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_ANSWER_READER_H_
