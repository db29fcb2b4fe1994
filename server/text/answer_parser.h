// What a model says in a conversation, taken apart while it is said: the answer, what it thinks before, and
// the functions that it calls.
#ifndef HYDRAD_SERVER_TEXT_ANSWER_PARSER_H_
#define HYDRAD_SERVER_TEXT_ANSWER_PARSER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/text/answer/call_reader.h"
#include "server/text/answer/tool_format.h"

namespace hydrad {

struct AnswerEvent {
  enum class Kind : uint8_t {
    kContent,     // text of the answer
    kReasoning,   // text of what was thought before it
    kCallBegins,  // of a function: call, id and name
    kArguments,   // more of that call's arguments, which joined are a JSON object
    kCallEnds,    // its arguments are complete, or will never be (AnswerParser::called)
    kMarkup       // what stands around the others, and is for nobody to see
  };
  Kind kind = Kind::kContent;
  std::string text{};
  int call = 0;        // which call it is, from 0
  std::string id{};    // of kCallBegins, and so is the next
  std::string name{};  // of the function
  // Arguments that stand otherwise in the answer, where they are part of the markup: behind a JSON string, or
  // before the name.
  bool restated = false;

  bool operator==(const AnswerEvent&) const = default;
};

// Reads one choice's text as it comes. What the events say does not depend on how the text was cut: joined,
// neighbours of one kind are the same. They come as soon as they are certain; held back are the beginning of
// what may become a marker, white space that may stand before one, and a call until its name is known and its
// arguments begin.
//
// Nothing is lost. Joined, the texts of all events but those that are `restated` are the answer, byte by
// byte. What turns out to be no call is content, with its marker. A call that has begun cannot be taken back:
// if it then breaks, it ends with the arguments so far, and what follows is content. White space beside a
// marker is markup.
//
// Reasoning stands at the beginning of an answer or nowhere. Only ASCII is looked for, so that events of text
// cut between characters are whole characters too. Keeps at most kMaxHeldBytes of the answer, some of them
// three times. Single-threaded.
class AnswerParser {
 public:
  struct Options {
    ToolFormat tools = ToolFormat::kNone;
    bool reasoning = true;
    const ReasoningMarkers* left_open = nullptr;  // LeftOpenBy: the answer begins inside them
    uint64_t id_seed = 0;                         // of the ids of calls: another for each choice
  };
  explicit AnswerParser(const Options& options);

  // A call of which so much is held back is content, and so is white space beyond kMaxSpaceBytes.
  static constexpr size_t kMaxHeldBytes = 64 << 10;
  static constexpr size_t kMaxSpaceBytes = 256;

  // Appends to `events`. REQUIRES: Finish has not been called.
  void Add(std::string_view text, std::vector<AnswerEvent>* events);
  // The answer has ended: appends what was held back.
  void Finish(std::vector<AnswerEvent>* events);

  // Whether a call was made whose arguments are complete: an answer that stops then stops for "tool_calls".
  bool called() const { return called_; }

 private:
  using Kind = AnswerEvent::Kind;
  enum class State : uint8_t {
    kBeginning,  // nothing so far but white space and reasoning
    kReasoning,
    kContent,
    kSpace,   // behind a marker: white space is markup, and anything else is for next_
    kMarked,  // behind a tool marker, where a call must begin
    kHead,    // in what stands before the arguments of a call (CallHead)
    kListed,  // behind the bracket of a list or a separator, where an object must begin
    kCall,    // in the object that call_ reads
    kBetween  // behind a call, where a separator or the closer may follow
  };

  void Step();
  void AtBeginning();
  void InText(Kind kind, std::string_view marker);
  void InSpace();
  void BehindMarker();
  void InHead();
  void InList();
  void InCall();
  void Between();

  void BeginCall(CallReader reader);
  void TellCall();
  void EndCall(bool complete);
  void MarkerEnds();
  void GoBehind(State next);
  void NoCall();
  void Again(State state);
  void TellHeld(Kind kind);
  void Tell(Kind kind, std::string_view text);

  // What has been looked at and not told.
  std::string_view held() const { return std::string_view(input_).substr(told_, at_ - told_); }
  std::string_view behind_space() const;  // held() without white space at its beginning
  char last() const { return input_[at_ - 1]; }

  const Options options_;
  const ToolSyntax& syntax_;
  const ReasoningMarkers* reasoning_;  // that the answer is or was inside of
  State state_, next_;
  std::vector<AnswerEvent>* events_ = nullptr;  // while Add or Finish runs
  std::string input_;                           // what is not told, at the end of Add or Finish
  size_t told_ = 0, at_ = 0;                    // bytes of it that were told; that were looked at
  size_t marker_ = 0;                           // bytes of held(): the marker behind which a call may begin
  bool thought_ = false;                        // reasoning is over
  bool in_list_ = false;                        // the calls stand in brackets
  std::optional<CallReader> call_;              // of kCall
  int calls_ = 0;                               // begun
  bool open_ = false;                           // the last of them has not ended
  bool called_ = false;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_ANSWER_PARSER_H_
