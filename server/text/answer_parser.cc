#include "server/text/answer_parser.h"

#include <utility>

#include "server/text/answer/call_head.h"

namespace hydrad {
namespace {

constexpr std::string_view kSpaces = " \t\r\n";

bool IsSpace(char c) { return kSpaces.find(c) != std::string_view::npos; }

// Nine letters and digits: some templates take no other ids.
std::string CallId(uint64_t seed, int call) {
  constexpr std::string_view kDigits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  uint64_t bits = seed + 0x9E3779B97F4A7C15u * (static_cast<uint64_t>(call) + 1);  // splitmix64
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9u;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBu;
  bits ^= bits >> 31;
  std::string id(9, '0');
  for (char& c : id) {
    c = kDigits[bits % kDigits.size()];
    bits /= kDigits.size();
  }
  return id;
}

}  // namespace

AnswerParser::AnswerParser(const Options& options)
    : options_(options),
      syntax_(SyntaxOf(options.tools)),
      reasoning_(options.reasoning ? options.left_open : nullptr),
      state_(reasoning_ != nullptr ? State::kSpace : State::kBeginning),
      next_(State::kReasoning) {}

void AnswerParser::Add(std::string_view text, std::vector<AnswerEvent>* events) {
  events_ = events;
  input_ += text;
  while (at_ < input_.size()) {
    ++at_;
    Step();
  }
  input_.erase(0, told_);
  at_ -= std::exchange(told_, 0);
}

void AnswerParser::Finish(std::vector<AnswerEvent>* events) {
  events_ = events;
  if (open_) EndCall(/*complete=*/false);
  TellHeld(state_ == State::kReasoning ? Kind::kReasoning : Kind::kContent);
}

void AnswerParser::Step() {
  switch (state_) {
    case State::kBeginning:
      return AtBeginning();
    case State::kReasoning:
      return InText(Kind::kReasoning, reasoning_->close);
    case State::kContent:
      return InText(Kind::kContent, syntax_.marker);
    case State::kSpace:
      return InSpace();
    case State::kMarked:
      return BehindMarker();
    case State::kHead:
      return InHead();
    case State::kListed:
      return InList();
    case State::kCall:
      return InCall();
    case State::kBetween:
      return Between();
  }
}

void AnswerParser::AtBeginning() {
  const std::string_view text = behind_space();
  bool may_become = text.empty() && held().size() < kMaxSpaceBytes;
  if (options_.reasoning && !thought_) {
    for (const ReasoningMarkers& markers : KnownReasoning()) {
      if (text == markers.open) {
        reasoning_ = &markers;
        return GoBehind(State::kReasoning);
      }
      may_become |= !text.empty() && markers.open.starts_with(text);
    }
  }
  if (!text.empty() && text == syntax_.marker) return MarkerEnds();
  may_become |= !text.empty() && syntax_.marker.starts_with(text);
  if (text == "{" && syntax_.without_marker) return BeginCall(CallReader(/*needs_arguments=*/true));
  if (!may_become) Again(State::kContent);
}

// Text goes on until the marker, with the white space before it.
void AnswerParser::InText(Kind kind, std::string_view marker) {
  if (marker.empty()) return TellHeld(kind);
  const std::string_view text = behind_space();
  if (text.empty()) {
    if (held().size() >= kMaxSpaceBytes) TellHeld(kind);
  } else if (text == marker) {
    if (kind == Kind::kContent) return MarkerEnds();
    thought_ = true;
    GoBehind(State::kBeginning);
  } else if (!marker.starts_with(text)) {
    if (text.size() == 1) return TellHeld(kind);
    // The marker may begin behind the byte that it did not begin with.
    at_ -= text.size() - 1;
    TellHeld(kind);
  }
}

void AnswerParser::InSpace() {
  if (IsSpace(last())) return TellHeld(Kind::kMarkup);
  Again(next_);
}

void AnswerParser::MarkerEnds() {
  marker_ = held().size();
  state_ = State::kMarked;
}

void AnswerParser::BehindMarker() {
  if (IsSpace(last()) && held().size() < marker_ + kMaxSpaceBytes) return;
  if (last() == '{') return BeginCall(CallReader(/*needs_arguments=*/false));
  if (!syntax_.listed) return NoCall();
  if (last() == '[') {
    in_list_ = true;
    state_ = State::kListed;
    return;
  }
  state_ = State::kHead;
  InHead();
}

void AnswerParser::InHead() {
  std::string_view text = held().substr(marker_);
  text.remove_prefix(text.find_first_not_of(kSpaces));
  const CallHead head = ReadCallHead(text);
  if (head.progress == CallHead::Progress::kNone) return NoCall();
  if (head.progress == CallHead::Progress::kComplete) BeginCall(CallReader(std::string(head.name)));
}

void AnswerParser::InList() {
  if (IsSpace(last()) && held().size() < marker_ + kMaxSpaceBytes) return;
  if (last() == '{') return BeginCall(CallReader(/*needs_arguments=*/false));
  NoCall();
}

// The byte that was looked at last is the first of the object.
void AnswerParser::BeginCall(CallReader reader) {
  call_.emplace(std::move(reader));
  state_ = State::kCall;
  InCall();
}

void AnswerParser::InCall() {
  switch (call_->Add(last())) {
    case CallReader::Step::kEnvelope:
      if (held().size() >= kMaxHeldBytes) return NoCall();
      break;
    case CallReader::Step::kArguments:
      if (!open_) TellCall();
      return TellHeld(Kind::kArguments);
    case CallReader::Step::kArgumentsEnd:
      TellHeld(Kind::kArguments);
      EndCall(/*complete=*/true);
      break;
    case CallReader::Step::kKeptArguments:
      TellHeld(Kind::kMarkup);
      TellCall();
      events_->push_back(
          {.kind = Kind::kArguments, .text = call_->arguments(), .call = calls_ - 1, .restated = true});
      EndCall(/*complete=*/true);
      break;
    case CallReader::Step::kBad:
      return NoCall();
  }
  if (!call_->ended()) return;
  TellHeld(Kind::kMarkup);
  state_ = State::kBetween;
}

// Tells of a call that begins behind all but the byte that was looked at last, or behind that one if it has
// been told.
void AnswerParser::TellCall() {
  if (!held().empty()) {
    --at_;
    TellHeld(Kind::kMarkup);
    ++at_;
  }
  const int call = calls_++;
  open_ = true;
  events_->push_back(
      {.kind = Kind::kCallBegins, .call = call, .id = CallId(options_.id_seed, call), .name = call_->name()});
}

void AnswerParser::EndCall(bool complete) {
  open_ = false;
  called_ |= complete;
  events_->push_back({.kind = Kind::kCallEnds, .call = calls_ - 1});
}

void AnswerParser::Between() {
  if (IsSpace(last()) && held().size() == 1) return TellHeld(Kind::kMarkup);
  const bool joined = !syntax_.listed || in_list_;
  if (joined && held() == syntax_.separator) {
    state_ = State::kListed;
  } else if (joined && held() == syntax_.closer) {
    GoBehind(State::kContent);
  } else if (!joined || !syntax_.closer.starts_with(held())) {
    Again(State::kContent);
  }
}

// What is held is markup, and so is white space that follows.
void AnswerParser::GoBehind(State next) {
  TellHeld(Kind::kMarkup);
  in_list_ = false;
  state_ = State::kSpace;
  next_ = next;
}

// What is held is no call, or no more of one: it is content, though a marker may stand in it.
void AnswerParser::NoCall() {
  if (open_) EndCall(/*complete=*/false);
  Tell(Kind::kContent, held().substr(0, marker_));
  told_ += marker_;
  Again(State::kContent);
}

// Looks at what is held once more.
void AnswerParser::Again(State state) {
  at_ = told_;
  marker_ = 0;
  in_list_ = false;
  state_ = state;
}

void AnswerParser::TellHeld(Kind kind) {
  Tell(kind, held());
  told_ = at_;
  marker_ = 0;
}

void AnswerParser::Tell(Kind kind, std::string_view text) {
  if (text.empty()) return;
  const int call = kind == Kind::kArguments ? calls_ - 1 : 0;
  if (!events_->empty()) {
    AnswerEvent& before = events_->back();
    if (before.kind == kind && before.call == call && !before.restated) {
      before.text += text;
      return;
    }
  }
  events_->push_back({.kind = kind, .text = std::string(text), .call = call});
}

std::string_view AnswerParser::behind_space() const {
  const std::string_view text = held();
  const size_t begin = text.find_first_not_of(kSpaces);
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin);
}

}  // namespace hydrad
