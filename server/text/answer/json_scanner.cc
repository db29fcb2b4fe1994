#include "server/text/answer/json_scanner.h"

namespace hydrad {
namespace {

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsHex(char c) { return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

}  // namespace

using Progress = JsonScanner::Progress;

Progress JsonScanner::Add(char c) {
  switch (state_) {
    case State::kString:
    case State::kEscape:
    case State::kHex:
      return InString(c);
    case State::kLiteral:
      if (c != literal_.front()) return Progress::kBad;
      literal_.remove_prefix(1);
      return literal_.empty() ? ValueEnds() : Progress::kMore;
    case State::kMinus:
    case State::kZero:
    case State::kDigits:
    case State::kPoint:
    case State::kFraction:
    case State::kExponent:
    case State::kSign:
    case State::kPowerDigits:
      return InNumber(c);
    default:
      break;
  }
  if (IsSpace(c)) return Progress::kMore;
  switch (state_) {
    case State::kValueOrEnd:
      return c == ']' ? Close('[') : Value(c);
    case State::kKeyOrEnd:
      if (c == '}') return Close('{');
      [[fallthrough]];
    case State::kKey:
      is_key_ = true;
      return c == '"' ? Go(State::kString) : Progress::kBad;
    case State::kColon:
      return c == ':' ? Go(State::kValue) : Progress::kBad;
    case State::kCommaOrEnd:
      return CommaOrEnd(c);
    default:
      return Value(c);
  }
}

Progress JsonScanner::Value(char c) {
  is_key_ = false;
  const auto literal = [&](std::string_view rest) {
    literal_ = rest;
    return Go(State::kLiteral);
  };
  switch (c) {
    case '{':
      return Open('{', State::kKeyOrEnd);
    case '[':
      return Open('[', State::kValueOrEnd);
    case '"':
      return Go(State::kString);
    case 't':
      return literal("rue");
    case 'f':
      return literal("alse");
    case 'n':
      return literal("ull");
    case '-':
      return Go(State::kMinus);
    case '0':
      return Go(State::kZero);
    default:
      return IsDigit(c) ? Go(State::kDigits) : Progress::kBad;
  }
}

Progress JsonScanner::Open(char bracket, State state) {
  if (open_.size() == kMaxDepth) return Progress::kBad;
  open_ += bracket;
  return Go(state);
}

Progress JsonScanner::Close(char bracket) {
  if (open_.empty() || open_.back() != bracket) return Progress::kBad;
  open_.pop_back();
  return ValueEnds();
}

Progress JsonScanner::Go(State state) {
  state_ = state;
  return Progress::kMore;
}

Progress JsonScanner::ValueEnds() {
  if (open_.empty()) return Progress::kEnds;
  return Go(State::kCommaOrEnd);
}

Progress JsonScanner::InString(char c) {
  switch (state_) {
    case State::kEscape:
      if (c == 'u') {
        digits_ = 4;
        return Go(State::kHex);
      }
      return std::string_view("\"\\/bfnrt").find(c) != std::string_view::npos ? Go(State::kString)
                                                                              : Progress::kBad;
    case State::kHex:
      if (!IsHex(c)) return Progress::kBad;
      return --digits_ == 0 ? Go(State::kString) : Progress::kMore;
    default:
      if (c == '\\') return Go(State::kEscape);
      if (c == '"') return is_key_ ? Go(State::kColon) : ValueEnds();
      return static_cast<unsigned char>(c) < 0x20 ? Progress::kBad : Progress::kMore;
  }
}

Progress JsonScanner::InNumber(char c) {
  const bool digit = IsDigit(c);
  switch (state_) {
    case State::kMinus:
      if (!digit) return Progress::kBad;
      return Go(c == '0' ? State::kZero : State::kDigits);
    case State::kPoint:
      return digit ? Go(State::kFraction) : Progress::kBad;
    case State::kExponent:
      if (c == '+' || c == '-') return Go(State::kSign);
      [[fallthrough]];
    case State::kSign:
      return digit ? Go(State::kPowerDigits) : Progress::kBad;
    case State::kZero:
    case State::kDigits:
      if (digit && state_ == State::kDigits) return Progress::kMore;
      if (c == '.') return Go(State::kPoint);
      break;
    default:
      if (digit) return Progress::kMore;
      break;
  }
  if ((c == 'e' || c == 'E') && state_ != State::kPowerDigits) return Go(State::kExponent);
  return BehindNumber(c);
}

Progress JsonScanner::BehindNumber(char c) {
  state_ = State::kCommaOrEnd;
  return IsSpace(c) ? Progress::kMore : CommaOrEnd(c);
}

Progress JsonScanner::CommaOrEnd(char c) {
  if (open_.empty()) return Progress::kBad;
  if (c == ',') return Go(open_.back() == '{' ? State::kKey : State::kValue);
  if (c == '}') return Close('{');
  return c == ']' ? Close('[') : Progress::kBad;
}

}  // namespace hydrad
