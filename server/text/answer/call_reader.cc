#include "server/text/answer/call_reader.h"

#include <array>
#include <string_view>
#include <utility>

#include "server/base/json.h"

namespace hydrad {
namespace {

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// What a string in JSON says; nothing where it is no text.
std::optional<std::string> TextOf(std::string_view literal) {
  const absl::StatusOr<Json> json = ParseJson(literal);
  if (!json.ok()) return std::nullopt;
  return json->get<std::string>();
}

bool IsObject(std::string_view text) {
  const absl::StatusOr<Json> json = ParseJson(text);
  return json.ok() && json->is_object();
}

constexpr std::array<std::string_view, 5> kKeys = {"name", "arguments", "parameters", "id", "type"};

}  // namespace

using Step = CallReader::Step;

Step CallReader::Go(State state) {
  state_ = state;
  return Step::kEnvelope;
}

Step CallReader::Add(char c) {
  if (state_ == State::kInKey) return InKey(c);
  if (state_ == State::kInValue) return InValue(c);
  if (state_ == State::kNull) return InNull(c);
  if (IsSpace(c)) return Step::kEnvelope;
  switch (state_) {
    case State::kOpen:
      return c == '{' ? Go(State::kKeyOrEnd) : Step::kBad;
    case State::kKeyOrEnd:
      return c == '"' ? Go(State::kInKey) : Step::kBad;  // {} has no name
    case State::kKey:
      return c == '"' ? Go(State::kInKey) : Step::kBad;
    case State::kColon:
      return c == ':' ? Go(State::kValue) : Step::kBad;
    case State::kValue:
      return BeginValue(c);
    case State::kCommaOrEnd:
      if (c == ',') return Go(State::kKey);
      return c == '}' ? Close() : Step::kBad;
    default:
      return Step::kBad;
  }
}

Step CallReader::InKey(char c) {
  if (c != '"') {
    key_text_ += c;
    return key_text_.size() > 16 ? Step::kBad : Step::kEnvelope;
  }
  for (size_t i = 0; i < kKeys.size(); ++i) {
    if (kKeys[i] != key_text_) continue;
    const size_t which = i == 2 ? 1 : i;  // two words for one thing
    if ((keys_ & (1u << which)) != 0) return Step::kBad;
    keys_ = static_cast<uint8_t>(keys_ | (1u << which));
    key_ = which == 0 ? Key::kName : which == 1 ? Key::kArguments : Key::kOther;
    key_text_.clear();
    return Go(State::kColon);
  }
  return Step::kBad;
}

Step CallReader::BeginValue(char c) {
  const bool arguments = key_ == Key::kArguments;
  kept_.clear();
  scanner_ = JsonScanner();
  if (arguments && c == 'n' && !bare_) {
    kept_ = c;
    return Go(State::kNull);
  }
  const bool object = arguments && c == '{';
  if (!object && (c != '"' || bare_)) return Step::kBad;
  streams_ = object && name_.has_value();
  state_ = State::kInValue;
  return InValue(c);
}

Step CallReader::InValue(char c) {
  const JsonScanner::Progress progress = scanner_.Add(c);
  if (progress == JsonScanner::Progress::kBad) return Step::kBad;
  const bool ends = progress == JsonScanner::Progress::kEnds;
  if (streams_) {
    if (!ends) return Step::kArguments;
    told_ = true;
    state_ = bare_ ? State::kEnded : State::kCommaOrEnd;
    return Step::kArgumentsEnd;
  }
  kept_ += c;
  return ends ? EndValue() : Step::kEnvelope;
}

Step CallReader::InNull(char c) {
  kept_ += c;
  if (!std::string_view("null").starts_with(kept_)) return Step::kBad;
  return kept_ == "null" ? EndValue() : Step::kEnvelope;
}

Step CallReader::EndValue() {
  state_ = State::kCommaOrEnd;
  if (key_ == Key::kOther) return Step::kEnvelope;
  if (key_ == Key::kName) {
    name_ = TextOf(kept_);
    if (!name_ || name_->empty() || name_->size() > kMaxNameBytes) return Step::kBad;
    return Known();
  }
  if (kept_.front() == '{') {
    arguments_ = std::move(kept_);
  } else if (kept_.front() == 'n') {
    arguments_ = "{}";
  } else {
    arguments_ = TextOf(kept_);
    if (!arguments_ || !IsObject(*arguments_)) return Step::kBad;
  }
  return Known();
}

Step CallReader::Known() {
  if (told_ || !name_ || !arguments_) return Step::kEnvelope;
  told_ = true;
  return Step::kKeptArguments;
}

Step CallReader::Close() {
  if (!name_) return Step::kBad;
  if (!told_) {
    if (needs_arguments_) return Step::kBad;
    arguments_ = "{}";
  }
  state_ = State::kEnded;
  return Known();
}

}  // namespace hydrad
